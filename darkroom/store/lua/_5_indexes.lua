-- Indexes of finished jobs, trimmed in slices.

-- Takes the next slice of a tenant's finished jobs: entries of records whose time is over go. The place where it left off
-- is in the timer's own name, t:<tenant>:<status>:<last id>.
local function trim_index(timer)
  local tenant, status, last = timer:match('^t:([^:]*):(%a+):(.*)$')
  local index = k_index(tenant, status)
  local ids = call('ZRANGEBYLEX', index, last == '' and '-' or '(' .. last, '+', 'LIMIT', 0, TRIM_MOST)
  for _, id in ipairs(ids) do
    if call('EXISTS', k_job(id)) == 0 then call('ZREM', index, id) end
  end
  call('ZREM', K_DUE, timer)
  if #ids == TRIM_MOST then
    due_in('t:' .. tenant .. ':' .. status .. ':' .. ids[#ids], TRIM_PAUSE_MS)
  else
    local following = TRIM_NEXT[status] or TRIM_FIRST
    due_in('t:' .. tenant .. ':' .. following .. ':', following == TRIM_FIRST and TRIM_EVERY_MS or TRIM_PAUSE_MS)
  end
end
