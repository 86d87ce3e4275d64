#!lua flags=allow-oom
-- Write down the intent to send, right before the POST of this one job.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 lease for the POST (ms; longer than its timeout), 5 fingerprint of the key used,
--       6 lease for the POST of a job in sync mode (ms), 7 the caller's own mark ('' none): a call repeated because its
--       answer was lost gives the same answer again, and nobody else's does
-- -> {1, send number, request JSON} send it | {2} the lane paused or its server changed meanwhile, back in its place | {-1} stale
-- attempt from admitted to submitting
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
local mark = ARGV[7] or ''
if mark ~= '' and attempt.state == 'submitting' and attempt.lease == ARGV[3]
  and call('HGET', k_attempt(id, n), 'mark') == mark then
  return { 1, tonumber(attempt.sends), call('HGET', k_job(id), 'request') }
end
if attempt.state ~= 'admitted' or attempt.lease ~= ARGV[3] then return { -1 } end
begun('submit')
local job = load_job(id)
local lane = fields(k_lane(attempt.lane), 'state', 'trial', 'server')
if lane.state == 'paused' and lane.trial ~= member_of(id, n) or not is_known_server(lane) then
  free_slot(attempt)
  give_back_send(attempt)
  give_back_charge(job, attempt)
  call('ZREM', K_DUE, due_of(id, n))
  call('HSET', k_attempt(id, n), 'state', 'queued')
  refund_turn(job)
  line_push(job)
  return { 2 }
end
local request = call('HGET', k_job(id), 'request')
local lease_ms = tonumber(ARGV[4])
if request:find('"enable_sync_mode":true', 1, true) and cjson.decode(request).enable_sync_mode == true then
  lease_ms = tonumber(ARGV[6])
end
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
return { 1, send, request }
