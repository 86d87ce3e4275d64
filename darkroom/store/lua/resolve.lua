#!lua flags=allow-oom
-- Settle a submit that reconciliation had to leave open, as an operator says.
-- adopt: the prediction is the attempt's; a job that failed goes on with it, a canceled one gets late outputs.
-- resubmit: buy another prediction, in a new attempt at the end of the line; what was sent before stays counted.
-- give_up: leave the job as it ended; its owner may retry it.
-- ARGV: 1 job id, 2 'adopt', 'resubmit' or 'give_up', 3 prediction id ('' none), 4 what the error says from now on (give_up),
--       5 the caller's own mark: a call repeated because its answer was lost gives the same answer again
-- -> {1, wake} done | {-1} no such job | {-2} there is nothing to settle | {-3} the prediction belongs to another attempt
--    | {-4} its owner canceled it: nothing is bought for it
-- attempt from failed to generating (adopt); job from failed to generating (adopt) or queued (resubmit)
local id, action = ARGV[1], ARGV[2]
local job = load_job(id)
if not job and is_compacted(id) then return { -2 } end
if not job then return { -1 } end
local key = k_job(id)
local record = fields(key, 'error', 'resolved', 'resolve_mark')
if record.resolve_mark == ARGV[5] then return { 1, 0 } end
local attempt = load_attempt(id, job.attempt)
local unsettled = TERMINAL[job.status] and attempt.state == 'failed' and attempt.failed_in == 'unconfirmed'
if not unsettled or record.resolved == '1' or not is_unsettled(record.error) then return { -2 } end
if action == 'resubmit' and job.status == 'canceled' then return { -4 } end
if action == 'adopt' then
  local owner = owner_of(ARGV[3])
  if owner and owner ~= member_of(id, job.attempt) then return { -3 } end
end
settle_send(attempt)
free_slot(attempt)
call('HSET', key, 'resolve_mark', ARGV[5])
if action == 'give_up' then
  local told = cjson.decode(record.error)
  told.message, told.retryable = ARGV[4], true
  call('HSET', key, 'resolved', '1', 'error', cjson.encode(told))
  call('PUBLISH', K_CHANNEL, id)
  return { 1, 0 }
end
keep(job)
call('HDEL', key, 'error')
if action == 'resubmit' then
  call('HDEL', key, 'finished_ms', 'cancel_requested_ms', 'expires_ms')
  new_attempt(job)
  return { 1, wake() }
end
call('SET', k_prediction(ARGV[3]), member_of(id, job.attempt), 'PX', KEEP_PREDICTION_MS)
call('HDEL', k_attempt(id, job.attempt), 'error', 'failed_in', 'ended_ms')
call('HSET', k_attempt(id, job.attempt), 'submitted_ms', attempt.sent_ms, 'accepted_ms', int(NOW), 'adopted', 'operator',
  'clock_ms', int(NOW))
generate(attempt, ARGV[3], 0)
if job.status == 'failed' then
  call('HDEL', key, 'finished_ms')
  set_status(job, 'generating')
end
return { 1, 0 }
