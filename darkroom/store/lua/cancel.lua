#!lua flags=allow-oom
-- Cancel a job: free and at once before the submit; settled with the submit while that is under way; after it at once,
-- and the money is spent (the attempt goes on, its outputs are kept as late).
-- ARGV: 1 job id, 2 the caller's own mark ('' none): a call repeated because its answer was lost gives the same again
-- -> 1 canceled | 2 canceled as soon as the submit is settled | -1 no such job | -2 finished already
-- job from queued, generating or storing to canceled
local id, mark = ARGV[1], ARGV[2] or ''
local job = load_job(id)
if not job and is_compacted(id) then return -2 end
if not job then return -1 end
if TERMINAL[job.status] then
  return mark ~= '' and call('HGET', k_job(id), 'cancel_mark') == mark and 1 or -2
end
local attempt = load_attempt(id, job.attempt)
if attempt.state == 'submitting' or attempt.state == 'unconfirmed' then
  call('HSETNX', k_job(id), 'cancel_requested_ms', int(NOW))
  call('PUBLISH', K_CHANNEL, id)
  return 2
end
withdraw(job, attempt)
call('HSETNX', k_job(id), 'cancel_requested_ms', int(NOW))
if mark ~= '' then call('HSET', k_job(id), 'cancel_mark', mark) end
finish(job, 'canceled')
return 1
