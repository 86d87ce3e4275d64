#!lua flags=no-writes
-- Read one job with the attempts that its owner can see, its place in the line, and what holds it there.
-- ARGV: 1 job id
-- -> {job record, current attempt's record, place (0: not waiting), 'budget' when that holds it (else ''),
--     {{n, record} of each late attempt …}, {{n, some of its record} of each earlier attempt …}} | {} none
--    | {what is left of a compacted one, packed}
local id = ARGV[1]
local record = call('HGETALL', k_job(id))
if #record == 0 then
  local packed = call('GET', k_compacted(id))
  return packed and { packed } or {}
end
local job = load_job(id)
local place, held = 0, ''
if job.status == 'queued' then
  local rank = call('ZRANK', k_flow(job.tenant, job.batch, job.priority), id)
  place = rank and rank + 1 or 0
  if rank and (is_held(job.tenant) or is_batch_held(job.batch)) then held = 'budget' end
end
return { record, call('HGETALL', k_attempt(id, job.attempt)), place, held, late_attempts(id), earlier_attempts(job) }
