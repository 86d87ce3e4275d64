-- Let a failed, canceled or expired job go on: what upstream may still have is looked at again in the same attempt at
-- no cost, otherwise it gets a new attempt at the end of the line. A prediction that upstream called failed or did not
-- know is asked for once more (`ask`) before another one is bought.
-- ARGV: 1 job id, 2 '1' to force a new attempt, 3 the caller's own mark ('' none): a call repeated because its answer
--       was lost gives the same answer again
-- -> {1, wake} waiting for a new attempt | {3, 0} resumed | {-1} no such job | {-2} not failed, canceled or expired
--    | {-3} its last submit is not settled
-- job from failed, canceled or expired to queued, unconfirmed, generating or storing
local id, mark = ARGV[1], ARGV[3] or ''
local job = load_job(id)
if not job then return { -1 } end
local key = k_job(id)
local done = fields(key, 'retry_mark', 'retry_code', 'error', 'resolved')
if mark ~= '' and done.retry_mark == mark then return { tonumber(done.retry_code), 0 } end
if not TERMINAL[job.status] or job.status == 'completed' then return { -2 } end
local attempt, fresh = load_attempt(id, job.attempt), ARGV[2] == '1'
local open = attempt.state == 'unconfirmed'
local unsettled = is_unsettled(done.error) and not attempt.prediction_id and done.resolved ~= '1'
if unsettled or (open and fresh) then return { -3 } end
keep(job)
call('HDEL', key, 'error', 'finished_ms', 'cancel_requested_ms', 'expires_ms', 'resolved')
job.cancel_requested_ms = nil

local function resume()
  if open then return 'unconfirmed' end
  if fresh or not attempt.prediction_id then return nil end
  if attempt.state == 'done' or (attempt.state == 'failed' and attempt.failed_in == 'storing') then
    call('HSET', k_attempt(id, job.attempt), 'state', 'storing', 'storing_ms', int(NOW))
    call('HDEL', k_attempt(id, job.attempt), 'store_tries', 'gone_ms')
    call('HSETNX', k_attempt(id, job.attempt), 'sources', '[]') -- all is stored: nothing is missing
    call('HINCRBY', k_attempt(id, job.attempt), 'lease', 1)
    no_longer_late(job)
    add_unstored(job.images)
    due_in(due_of(id, job.attempt), 0)
    return 'storing'
  end
  if attempt.state == 'failed' then
    generate(attempt, attempt.prediction_id, 0)
    call('HDEL', k_attempt(id, job.attempt), 'error', 'failed_in', 'ended_ms')
    call('HSET', k_attempt(id, job.attempt), 'ask', '1')
    attempt.state = 'generating'
  end
  if attempt.state == 'generating' then
    -- whoever is looking now looks for a job that had ended: what that decides is stale
    call('HINCRBY', k_attempt(id, job.attempt), 'lease', 1)
    call('HSET', k_attempt(id, job.attempt), 'clock_ms', int(NOW))
  end
  return attempt.state
end

local status = resume()
local code = status and 3 or 1
if mark ~= '' then call('HSET', key, 'retry_mark', mark, 'retry_code', code) end
if status then
  set_status(job, status)
  return { 3, 0 }
end
new_attempt(job)
return { 1, wake() }
