#!lua flags=allow-oom
-- Upstream has completed the prediction: give the slot back and pass the outputs on to be stored.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 sources (JSON: what upstream named as outputs), 5 inference (ms, '' unknown),
--       6 looks made, 7 after how long the store message is looked for (ms)
-- -> {1, lease to store under} | {-1} stale
-- attempt from generating to storing
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if attempt.state == 'storing' and attempt.lease == int(tonumber(ARGV[3]) + 1) then
  return { 1, attempt.lease } -- the same call again after a lost answer: nobody has begun since
end
if attempt.state ~= 'generating' or attempt.lease ~= ARGV[3] then return { -1 } end
local job = load_job(id)
free_slot(attempt)
add_unstored(job.images)
discount_refund(job, attempt)
count_missed_callback(attempt)
call_for('store')
local lease = call('HINCRBY', k_attempt(id, n), 'lease', 1)
call('HSET', k_attempt(id, n), 'state', 'storing', 'sources', ARGV[4], 'inference_ms', ARGV[5], 'polls', ARGV[6],
  'storing_ms', int(NOW), 'message_ms', int(NOW))
call('HDEL', k_attempt(id, n), 'ask')
if ARGV[5] ~= '' then
  call('RPUSH', K_DURATIONS, ARGV[5])
  call('LTRIM', K_DURATIONS, -200, -1) -- as many as a worker learns from
end
due_in(due_of(id, n), tonumber(ARGV[7]))
if is_current(job, n) then set_status(job, 'storing') end
return { 1, int(lease) }
