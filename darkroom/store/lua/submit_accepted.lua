#!lua flags=allow-oom
-- Record the prediction that a send created. The direct answer to send `s` of an attempt is a fact, whatever became of
-- the lease meanwhile: it is fenced by the send's number, settles an unconfirmed submit as well, and takes a job that
-- waits to be sent again out of the line. Where the submit had been given up the attempt goes on: it is paid, so its
-- outputs are kept as late ones. A fact beats an adoption: who adopted the prediction becomes unconfirmed again, and who
-- had adopted another one gives that back. Where two have adopted each other's, both keep what they have.
-- An adoption (found by the list call) is a conclusion, not a fact: it settles an unconfirmed submit and nothing else.
-- ARGV: 1 job id, 2 attempt, 3 send number, 4 prediction id, 5 first look in (ms), 6 '1' when adopted
-- -> 1 done | 0 known already | -1 stale | -3 the prediction belongs to another attempt | -4 kept as a duplicate
-- attempt from submitting, unconfirmed, queued, admitted or failed (in unconfirmed) to generating;
-- an adopter's from generating or storing to unconfirmed
local id, n, prediction = ARGV[1], ARGV[2], ARGV[4]
local attempt, job = load_attempt(id, n), load_job(id)
if not job or not attempt.state then return -1 end
local adopting, latest = ARGV[6] == '1', tonumber(ARGV[3]) >= tonumber(attempt.sends or 1)
local owner = owner_of(prediction)
if owner == member_of(id, n) then
  return attempt.prediction_id == prediction and 0 or -4 -- the same call again after a lost answer: it was counted then
end
if adopting and not (attempt.state == 'unconfirmed' and latest) then return owner and -3 or -1 end

-- Takes the prediction from whoever only concluded that it was his, unless he has made use of it.
local function disown(member)
  local other_id, other_n = member:match('^(.+):(%d+)$')
  local other, other_job = load_attempt(other_id, other_n), load_job(other_id)
  if not other_job or (other.adopted or '0') == '0' or other.prediction_id ~= prediction then return false end
  if other.state ~= 'generating' and other.state ~= 'storing' then return false end
  local key = k_attempt(other_id, other_n)
  if other.state == 'storing' then add_unstored(-other_job.images) end
  for _, name in ipairs(call('HKEYS', key)) do
    if name:sub(1, 4) == 'out:' then call('HDEL', key, name) end
  end
  call('HDEL', key, 'prediction_id', 'submitted_ms', 'accepted_ms', 'adopted', 'sources', 'storing_ms', 'inference_ms')
  call('HINCRBY', key, 'lease', 1)
  call('HSET', key, 'state', 'unconfirmed', 'listings', 0)
  call('ZADD', k_slots(other.lane), int(NOW + SLOT_LAPSE_MS), member)
  call('ZADD', k_open_sends(other.lane), other.sent_ms, member)
  due_in(due_of(other_id, other_n), 0)
  if is_current(other_job, other_n) then set_status(other_job, 'unconfirmed') end
  return true
end

local given_up = attempt.state == 'failed' and attempt.failed_in == 'unconfirmed'
local put_back = attempt.state == 'queued' or attempt.state == 'admitted'
local open = attempt.state == 'submitting' or attempt.state == 'unconfirmed'
local wanted = latest and (open or put_back or given_up)
if owner and (adopting or not wanted or not disown(owner)) then return -3 end
call('SET', k_prediction(prediction), member_of(id, n), 'PX', KEEP_PREDICTION_MS)
if attempt.state == 'generating' and attempt.adopted == '1' and attempt.sends == '1' then
  call('DEL', k_prediction(attempt.prediction_id)) -- it is another lost send's, whose sweep finds it now
  call('HSET', k_attempt(id, n), 'adopted', '0', 'accepted_ms', int(NOW))
  generate(attempt, prediction, tonumber(ARGV[5]))
  return 1
end
if not wanted then
  local known = call('HGET', k_attempt(id, n), 'duplicates')
  call('HSET', k_attempt(id, n), 'duplicates', known and (known .. ',' .. prediction) or prediction)
  spend_twice(job, attempt)
  call('HINCRBY', K_TOTALS, 'duplicate_predictions', 1)
  return -4
end
if put_back then
  if attempt.state == 'admitted' then
    free_slot(attempt)
    give_back_send(attempt)
  elseif is_current(job, n) then
    line_remove(job)
  end
  spend(job, attempt) -- it had been taken back
  keep(job)
elseif given_up then
  call('HDEL', k_attempt(id, n), 'error', 'failed_in', 'ended_ms')
  if not attempt.spent_day then spend(job, attempt) end -- it had been taken back
  keep(job)
else
  end_send(attempt)
end
settle_send(attempt)
call('HSET', k_attempt(id, n), 'sends', ARGV[3]) -- more than were known where a failover lost the intent
generate(attempt, prediction, tonumber(ARGV[5]))
local sent_ms = attempt.sent_ms or int(NOW) -- its absence had been believed
call('HSET', k_attempt(id, n), 'sent_ms', sent_ms, 'submitted_ms', sent_ms, 'accepted_ms', int(NOW), 'adopted', ARGV[6])
lane_works(attempt.lane, member_of(id, n))
if is_current(job, n) then
  set_status(job, 'generating')
  if job.cancel_requested_ms then finish(job, 'canceled') end
end
return 1
