#!lua flags=no-writes
-- Read one job with the attempts that its owner can see and its place in the line.
-- ARGV: 1 job id
-- -> {job record, current attempt's record, place (0: not waiting), {n, record} of each late attempt …} | {} none
local id = ARGV[1]
local record = call('HGETALL', k_job(id))
if #record == 0 then return {} end
local job = load_job(id)
local place = 0
if job.status == 'queued' then
  local rank = call('ZRANK', k_flow(job.tenant, job.batch, job.priority), id)
  place = rank and rank + 1 or 0
end
local reply = { record, call('HGETALL', k_attempt(id, job.attempt)), place }
for _, late in ipairs(late_attempts(id)) do reply[#reply + 1] = late end
return reply
