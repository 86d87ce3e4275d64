#!lua flags=allow-oom
-- Write down the intent to send, right before the POST of this one job.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 lease for the POST (ms; longer than its timeout), 5 fingerprint of the key used,
--       6 lease for the POST of a job in sync mode (ms), 7 the caller's own mark ('' none): a call repeated because its
--       answer was lost gives the same answer again, and nobody else's does, 8 '1' when upstream is to call back
-- -> {1, send number, request JSON, callback} send it | {2} the lane paused or its server changed meanwhile, back in its
--    place, or its batch was canceled | {-1} stale; callback is '' (without one), 'awaited' or 'doubted'
-- attempt from admitted to submitting
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
local mark = ARGV[7] or ''
local function intent(send, request) return { 1, send, request, callback_of(attempt) } end
if mark ~= '' and attempt.state == 'submitting' and attempt.lease == ARGV[3]
  and call('HGET', k_attempt(id, n), 'mark') == mark then
  return intent(tonumber(attempt.sends), call('HGET', k_job(id), 'request'))
end
if attempt.state ~= 'admitted' or attempt.lease ~= ARGV[3] then return { -1 } end
begun('submit')
local job = load_job(id)
local lane = fields(k_lane(attempt.lane), 'state', 'trial', 'server')
local canceled = is_canceled_with_batch(job)
if lane.state == 'paused' and lane.trial ~= member_of(id, n) or not is_known_server(lane) or canceled then
  give_up_admission(job, attempt)
  if canceled then finish(job, 'canceled') else line_push(job) end
  return { 2 }
end
local request = call('HGET', k_job(id), 'request')
local function asks_for(name)
  return request:find('"' .. name .. '":true', 1, true) and cjson.decode(request)[name] == true
end
local sync = asks_for('enable_sync_mode')
local lease_ms = tonumber(sync and ARGV[6] or ARGV[4])
-- upstream calls nobody back about base64; what is answered in one go needs no call
attempt.callback = ARGV[8] == '1' and not sync and not asks_for('enable_base64_output') and '1' or nil
attempt.called_ms = nil
call('HDEL', k_attempt(id, n), 'callback', 'called_ms')
if attempt.callback then call('HSET', k_attempt(id, n), 'callback', '1') end
local send = call('HINCRBY', k_attempt(id, n), 'sends', 1)
call('HSET', k_attempt(id, n), 'state', 'submitting', 'sent_ms', int(NOW), 'key', ARGV[5], 'mark', mark,
  'sent_paused_ms', int(paused_ms()))
call('ZREMRANGEBYSCORE', k_open_sends(attempt.lane), '-inf', int(NOW - KEEP_PREDICTION_MS))
call('ZADD', k_open_sends(attempt.lane), int(NOW), member_of(id, n))
call('HINCRBY', k_job(id), 'submits', 1)
spend(job, attempt)
call('ZREM', k_unsent(attempt.lane), member_of(id, n))
call('ZADD', k_slots(attempt.lane), 'XX', int(NOW + lease_ms + SLOT_LAPSE_MS), member_of(id, n))
due_in(due_of(id, n), lease_ms)
set_status(job, 'submitting')
return intent(send, request)
