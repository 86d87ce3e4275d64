-- Letting a job that has ended go on.

-- What upstream may still have is looked at again in the same attempt.
-- -> the status that the job goes on with | nil: there is nothing to resume
local function resume(job, attempt)
  local key = k_attempt(job.id, job.attempt)
  if attempt.state == 'unconfirmed' then return 'unconfirmed' end
  if not attempt.prediction_id then return nil end
  if attempt.state == 'done' or (attempt.state == 'failed' and attempt.failed_in == 'storing') then
    call('HSET', key, 'state', 'storing', 'storing_ms', int(NOW))
    call('HDEL', key, 'store_tries', 'gone_ms')
    call('HSETNX', key, 'sources', '[]') -- all is stored: nothing is missing
    call('HINCRBY', key, 'lease', 1)
    no_longer_late(job)
    add_unstored(job.images)
    due_in(due_of(job.id, job.attempt), 0)
    return 'storing'
  end
  if attempt.state == 'failed' then
    generate(attempt, attempt.prediction_id, 0)
    call('HDEL', key, 'error', 'failed_in', 'ended_ms')
    call('HSET', key, 'ask', '1')
    attempt.state = 'generating'
  end
  if attempt.state == 'generating' then
    -- whoever is looking now looks for a job that had ended: what that decides is stale
    call('HINCRBY', key, 'lease', 1)
    call('HSET', key, 'clock_ms', int(NOW))
  end
  return attempt.state
end

-- `fresh`: a new attempt whatever upstream has. `unsettled_too`: a new attempt even where the last submit is not settled
-- and may have been paid. Its place is a new one: a batch's cancel before it no longer means this job.
-- -> 'resumed' at no cost, or 'asked', which costs again if upstream still says that its prediction failed
--    | 'new' attempt, which costs again | 'unsettled': its last submit is not settled
local function go_on(job, fresh, unsettled_too)
  local key, attempt = k_job(job.id), load_attempt(job.id, job.attempt)
  local done = fields(key, 'error', 'resolved')
  local unsettled = is_unsettled(done.error) and not attempt.prediction_id and done.resolved ~= '1'
  if unsettled and not unsettled_too then return 'unsettled' end
  if attempt.state == 'unconfirmed' and fresh then return 'unsettled' end
  if unsettled then
    settle_send(attempt)
    free_slot(attempt)
  end
  keep(job)
  call('HDEL', key, 'error', 'finished_ms', 'cancel_requested_ms', 'expires_ms', 'resolved')
  job.cancel_requested_ms = nil
  local status = not fresh and resume(job, attempt)
  if not status then
    new_attempt(job)
    return 'new'
  end
  if job.batch ~= '-' then call('HSET', key, 'seq', call('INCR', K_SEQ)) end
  set_status(job, status)
  return call('HGET', k_attempt(job.id, job.attempt), 'ask') == '1' and 'asked' or 'resumed'
end
