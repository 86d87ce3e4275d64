#!lua flags=allow-oom
-- End a job that waited longer than it was allowed to; time in which every lane was paused does not count.
-- ARGV: 1 job id
-- -> 1 expired | 2 its deadline is later | 0 it no longer waits
-- job from queued to expired
local id = ARGV[1]
local job = load_job(id)
local timer = 'x:' .. id
if not job or job.status ~= 'queued' then
  call('ZREM', K_DUE, timer)
  return 0
end
local record = fields(k_job(id), 'queued_ms', 'expires_ms', 'paused_base_ms')
if not record.expires_ms then return 0 end -- retried after this was called for: it waits without a deadline now
local deadline = tonumber(record.queued_ms) + tonumber(record.expires_ms)
  + paused_ms() - tonumber(record.paused_base_ms)
if deadline > NOW then
  due_in(timer, math.max(deadline - NOW, 1000))
  return 2
end
if not line_remove(job) then
  -- admitted: it is about to be sent; a return to the line finds the deadline passed
  due_in(timer, 1000)
  return 2
end
finish(job, 'expired')
return 1
