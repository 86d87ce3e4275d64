#!lua flags=allow-oom
-- Record the prediction that a send created. The direct answer to send `s` of an attempt is a fact, whatever became of
-- the lease meanwhile: it is fenced by the send's number, and it settles an unconfirmed submit as well. Where that had
-- been given up already the attempt goes on: it is paid, so its outputs are kept as late ones.
-- An adoption (found by the list call) is a conclusion, not a fact: it settles an unconfirmed submit and nothing else.
-- ARGV: 1 job id, 2 attempt, 3 send number, 4 prediction id, 5 first look in (ms), 6 '1' when adopted
-- -> 1 done | 0 known already | -1 stale | -3 the prediction belongs to another attempt | -4 kept as a duplicate
-- attempt from submitting, unconfirmed or failed (in unconfirmed) to generating
local id, n, prediction = ARGV[1], ARGV[2], ARGV[4]
local attempt, job = load_attempt(id, n), load_job(id)
if not job or not attempt.state then return -1 end
local owner = call('GET', k_prediction(prediction))
if owner and owner ~= member_of(id, n) then return -3 end
if attempt.prediction_id == prediction then return 0 end
if owner then return -4 end -- the same call again after a lost answer: it was counted then
local latest = attempt.sends == ARGV[3]
if ARGV[6] == '1' and not (attempt.state == 'unconfirmed' and latest) then return -1 end
local given_up = attempt.state == 'failed' and attempt.failed_in == 'unconfirmed'
call('SET', k_prediction(prediction), member_of(id, n), 'PX', KEEP_PREDICTION_MS)
if not latest or not (attempt.state == 'submitting' or attempt.state == 'unconfirmed' or given_up) then
  local known = call('HGET', k_attempt(id, n), 'duplicates')
  call('HSET', k_attempt(id, n), 'duplicates', known and (known .. ',' .. prediction) or prediction)
  spend_twice(job, attempt)
  call('HINCRBY', K_TOTALS, 'duplicate_predictions', 1)
  return -4
end
if given_up then
  call('HDEL', k_attempt(id, n), 'error', 'failed_in')
  keep(job)
end
end_send(attempt)
call('HSET', k_attempt(id, n), 'state', 'generating', 'prediction_id', prediction, 'submitted_ms', attempt.sent_ms,
  'accepted_ms', int(NOW), 'adopted', ARGV[6])
call('HINCRBY', k_attempt(id, n), 'lease', 1)
call('ZADD', k_slots(attempt.lane), '+inf', member_of(id, n))
lane_works(attempt.lane, member_of(id, n))
due_in(due_of(id, n), tonumber(ARGV[5]))
if is_current(job, n) then
  set_status(job, 'generating')
  if job.cancel_requested_ms then finish(job, 'canceled') end
end
return 1
