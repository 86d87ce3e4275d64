#!lua flags=allow-oom
-- End an attempt that yields nothing (any more). The job fails, or gets a new attempt in its old place.
-- An attempt that a retry had asked about once more (`ask`) is replaced whatever the number of attempts. For what was
-- canceled with its batch nothing is bought any more.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 error (JSON), 5 '1' when the send created nothing (its money is taken back),
--       6 most attempts in all (0: no replacement; counts for what upstream failed while generating, and for nothing
--       else), 7 looks made ('' unchanged)
-- -> 1 job failed (or canceled, as its owner wished) | 2 replaced by a new attempt, or going on with what an earlier send
--    had bought | 3 only the attempt ended (the job had ended before) | -1 stale
-- attempt from submitting, unconfirmed, generating or storing to failed (or to generating, with what was bought before)
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if not LIVE[attempt.state or ''] or attempt.state == 'admitted' or attempt.lease ~= ARGV[3] then return -1 end
local job = load_job(id)
-- upstream may be working on what is left open until an operator settles it, which needs the job's latest attempt: its
-- slot lapses by itself
local unsettled = attempt.state == 'unconfirmed' and job.attempt == n and is_unsettled(ARGV[4])
if not unsettled then
  free_slot(attempt)
  settle_send(attempt)
end
if attempt.state == 'submitting' or attempt.state == 'unconfirmed' then end_send(attempt) end
if attempt.state == 'storing' then add_unstored(-job.images) end
if ARGV[5] == '1' then
  if use_duplicate(job, attempt) then return 2 end
  take_back(job, attempt)
end
count_refund(job, attempt, ARGV[4])
if attempt.state == 'generating' and cjson.decode(ARGV[4]).code ~= 'output_unavailable' then
  count_missed_callback(attempt) -- what upstream has lost it calls nobody about
end
call('ZREM', K_DUE, due_of(id, n))
call('HINCRBY', k_attempt(id, n), 'lease', 1)
call('HSET', k_attempt(id, n), 'state', 'failed', 'failed_in', attempt.state, 'error', ARGV[4],
  'ended_ms', int(NOW))
if ARGV[7] ~= '' then call('HSET', k_attempt(id, n), 'polls', ARGV[7]) end
if not is_current(job, n) then
  if unsettled then call('HSET', k_job(id), 'error', ARGV[4]) end -- a retry might pay twice
  retire(job)
  return 3
end
if job.cancel_requested_ms then
  finish(job, 'canceled', unsettled and ARGV[4])
  return 1
end
local buys_again = attempt.state == 'generating' and not is_canceled_with_batch(job)
if buys_again and attempt.ask == '1' then
  call('HDEL', k_attempt(id, n), 'ask')
  new_attempt(job)
  return 2
end
if buys_again and tonumber(n) < tonumber(ARGV[6]) then
  job.attempt = int(tonumber(n) + 1)
  call('HSET', k_job(id), 'attempt', job.attempt)
  queue_again(job, attempt)
  return 2
end
finish(job, 'failed', ARGV[4])
return 1
