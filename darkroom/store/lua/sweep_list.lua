#!lua flags=allow-oom
-- List a batch's jobs among their tenant's, and set the deadlines of those that wait.
-- ARGV: 1 batch id, 2 most lines
-- -> 1 the sweep is over | 0 more is to come
local known = fields(k_batch(ARGV[1]), 'tenant', 'linked_ms')
return sweep_slice(ARGV[1], 'list', tonumber(ARGV[2]), function(id)
  local job = fields(k_job(id), 'status', 'expires_ms')
  if not job.status then return end
  call('ZADD', k_index(known.tenant, job.status), 0, id)
  if job.expires_ms and job.status == 'queued' then
    -- the time of the upload is no time of waiting
    call('HSET', k_job(id), 'queued_ms', known.linked_ms, 'paused_base_ms', int(paused_ms()))
    due_in('x:' .. id, tonumber(job.expires_ms))
  end
end)
