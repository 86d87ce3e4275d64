-- Indexes of finished jobs, trimmed in slices.

-- Whether a completed job may be compacted: it has been for long enough, and nothing holds its record.
local function is_to_be_compacted(id, known, compact_ms)
  if known.webhook_status and known.webhook_status ~= 'delivered' then return false end
  return compact_ms > 0 and NOW - tonumber(known.finished_ms or NOW) >= compact_ms and call('PTTL', k_job(id)) > 0
end

-- Takes the next slice of a tenant's finished jobs: entries of records whose time is over go. The place where it left off
-- is in the timer's own name, t:<tenant>:<status>:<last id>.
-- -> those among them that may be compacted
local function trim_index(timer, compact_ms)
  local tenant, status, last = timer:match('^t:([^:]*):(%a+):(.*)$')
  local index = k_index(tenant, status)
  local ids = call('ZRANGEBYLEX', index, last == '' and '-' or '(' .. last, '+', 'LIMIT', 0, TRIM_MOST)
  local old = {}
  for _, id in ipairs(ids) do
    local known = fields(k_job(id), 'status', 'finished_ms', 'webhook_status')
    if not known.status then
      if not is_compacted(id) then call('ZREM', index, id) end
    elseif status == 'completed' and is_to_be_compacted(id, known, compact_ms) then
      old[#old + 1] = id
    end
  end
  call('ZREM', K_DUE, timer)
  if #ids == TRIM_MOST then
    due_in('t:' .. tenant .. ':' .. status .. ':' .. ids[#ids], TRIM_PAUSE_MS)
  else
    local following = TRIM_NEXT[status] or TRIM_FIRST
    due_in('t:' .. tenant .. ':' .. following .. ':', following == TRIM_FIRST and TRIM_EVERY_MS or TRIM_PAUSE_MS)
  end
  return old
end
