-- Let a failed, canceled or expired job go on: what upstream still has is resumed in the same attempt at no cost,
-- otherwise it gets a new attempt at the end of the line.
-- ARGV: 1 job id, 2 '1' to force a new attempt
-- -> {1, wake} waiting for a new attempt | {3, 0} resumed | {-1} no such job | {-2} not failed, canceled or expired
--    | {-3} its last submit is not settled
-- job from failed, canceled or expired to queued, generating or storing
local id = ARGV[1]
local job = load_job(id)
if not job then return { -1 } end
if not TERMINAL[job.status] or job.status == 'completed' then return { -2 } end
local key = k_job(id)
local attempt, err = load_attempt(id, job.attempt), call('HGET', key, 'error')
if err and cjson.decode(err).code == 'submit_unconfirmed' and not attempt.prediction_id
  and call('HGET', key, 'resolved') ~= '1' then
  return { -3 }
end
keep(job)
call('HDEL', key, 'error', 'finished_ms', 'cancel_requested_ms', 'expires_ms')
job.cancel_requested_ms = nil
if ARGV[2] ~= '1' and attempt.prediction_id then
  local state, failed_in = attempt.state, call('HGET', k_attempt(id, job.attempt), 'failed_in')
  if state == 'done' or (state == 'failed' and failed_in == 'storing') then
    call('HSET', k_attempt(id, job.attempt), 'state', 'storing', 'storing_ms', int(NOW))
    call('HDEL', k_attempt(id, job.attempt), 'store_tries', 'gone_ms')
    call('HSETNX', k_attempt(id, job.attempt), 'sources', '[]') -- all is stored: nothing is missing
    call('HINCRBY', k_attempt(id, job.attempt), 'lease', 1)
    no_longer_late(job)
    add_unstored(job.images)
    due_in(due_of(id, job.attempt), 0)
    state = 'storing'
  end
  if state == 'generating' or state == 'storing' then
    if state == 'generating' then call('HSET', k_attempt(id, job.attempt), 'clock_ms', int(NOW)) end
    set_status(job, state)
    return { 3, 0 }
  end
end
job.attempt, job.seq = int(tonumber(job.attempt) + 1), call('INCR', K_SEQ)
call('HSET', key, 'attempt', job.attempt, 'seq', job.seq, 'queued_ms', int(NOW))
set_status(job, 'queued')
line_push(job)
return { 1, wake() }
