#!lua flags=allow-oom
-- Lease what is due: each entry is put off by the time its handling may take and given out with all that needs.
-- ARGV: 1 most entries, 2 lease of a look (ms), 3 longest wait of a message in a Celery queue (ms), 4 after how long it is
--       looked for the first time (ms), 5 how long a delivery waits for a host that fails (ms),
--       6 how long after its end a completed job is compacted (ms, 0 never)
-- -> {now (ms), next due (ms, -1 none), line depth, how many were due, entry, …}; an entry is
--    {'j', id, attempt, state, lease, prediction id, submitted (ms), looks, current ('1' or '0'), lane, sent (ms),
--     clock start (ms), asked about by a retry ('1' or ''), unknown upstream since (ms, '' it is known), key's fingerprint,
--     callback ('' none to come, 'awaited', 'doubted'), called back (ms, '' it was not)}
--    {'d', delivery id, lease} | {'x', job id} | {'l', lane} | {'s', batch, sweep} | {'m', batch}
--    {'c', job id, …} (completed jobs that may be compacted; their own next slice comes again if they are not)
-- What waits for a message that is just waiting its turn is not given out, but looked for again.
-- Indexes are trimmed here and now, one slice a call; who was held by a budget gets its turn back. A delivery whose host
-- has no room is not given out, but waits in the host's queue.
local due = call('ZRANGEBYSCORE', K_DUE, '-inf', int(NOW), 'LIMIT', 0, ARGV[1])
local look_ms, message_ms, check_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local entries, trims, called = {}, 0, {}

-- A message is to be sent (again): notes when, for whoever claims its work. False: the one that was sent is not lost.
local function call_again(member, key, stage, sent_ms)
  if sent_ms and not is_message_lost(stage, tonumber(sent_ms), message_ms, check_ms) then
    due_in(member, check_ms)
    return false
  end
  called[stage] = true
  call('HSET', key, 'message_ms', int(NOW))
  due_in(member, sent_ms and message_ms or check_ms)
  return true
end

for _, member in ipairs(due) do
  local kind, rest = member:sub(1, 1), member:sub(3)
  if kind == 'j' then
    local id, n = rest:match('^(.+):(%d+)$')
    local a = fields(k_attempt(id, n), 'state', 'lease', 'prediction_id', 'submitted_ms', 'polls', 'lane', 'sent_ms',
      'clock_ms', 'ask', 'message_ms', 'missing_ms', 'key', 'callback', 'called_ms')
    if not LIVE[a.state or ''] then
      call('ZREM', K_DUE, member)
    elseif a.state ~= 'storing' or call_again(member, k_attempt(id, n), 'store', a.message_ms) then
      local job = fields(k_job(id), 'status', 'attempt')
      local current = job.attempt == n and not TERMINAL[job.status] and '1' or '0'
      if a.state ~= 'storing' then due_in(member, look_ms) end
      entries[#entries + 1] = { 'j', id, n, a.state, a.lease, a.prediction_id or '', a.submitted_ms or '0',
        a.polls or '0', current, a.lane or '', a.sent_ms or '0', a.clock_ms or a.submitted_ms or '0', a.ask or '',
        a.missing_ms or '', a.key or '', callback_of(a), a.called_ms or '' }
    end
  elseif kind == 'd' then
    local d = fields(k_delivery(rest), 'status', 'lease', 'message_ms', 'url', 'tenant')
    if d.status ~= 'pending' then
      call('ZREM', K_DUE, member)
    elseif may_fly(rest, d) and call_again(member, k_delivery(rest), 'notify', d.message_ms) then
      entries[#entries + 1] = { 'd', rest, d.lease }
    end
  elseif kind == 'x' then
    due_in(member, look_ms)
    entries[#entries + 1] = { 'x', rest }
  elseif kind == 'l' then
    -- a pause that is to end by itself keeps its timer: a crash before the probe must not make it endless
    local lane = fields(k_lane(rest), 'state', 'reason')
    if lane.state == 'paused' and lane.reason ~= 'operator' then
      due_in(member, message_ms)
    else
      call('ZREM', K_DUE, member)
    end
    entries[#entries + 1] = { 'l', rest }
  elseif kind == 't' then
    if trims > 0 then
      due_in(member, trims * TRIM_PAUSE_MS)
    else
      local old = trim_index(member, tonumber(ARGV[6]))
      if #old > 0 then entries[#entries + 1] = { 'c', unpack(old) } end
    end
    trims = trims + 1
  elseif kind == 'w' then
    call('ZREM', K_DUE, member)
    local more = exhaust_overdue(rest, tonumber(ARGV[5]))
    let_go(rest)
    if more then due_in(member, 0) end
  elseif kind == 's' then
    due_in(member, look_ms)
    local batch, sweep = rest:match('^(.+):(%a+)$')
    entries[#entries + 1] = { 's', batch, sweep }
  elseif kind == 'm' then
    due_in(member, check_ms)
    entries[#entries + 1] = { 'm', rest }
  elseif kind == 'h' then
    release_tenant(rest)
  elseif kind == 'b' then
    release_batch(rest)
  else
    call('ZREM', K_DUE, member)
    entries[#entries + 1] = { kind, rest }
  end
end
for stage in pairs(called) do call_for(stage) end
local first = call('ZRANGE', K_DUE, 0, 0, 'WITHSCORES')[2]
local reply = { int(NOW), first and int(tonumber(first)) or '-1', call('HGET', K_DEPTH, '*|jobs') or '0', #due }
for _, entry in ipairs(entries) do reply[#reply + 1] = entry end
return reply
