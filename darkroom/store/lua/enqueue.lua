-- Accept a job: idempotency key, record, place in the line, deadline, first event; all or nothing.
-- ARGV: 1 job id, 2 tenant, 3 images, 4 priority, 5 request (JSON), 6 expires in (ms, 0: never),
--       7 idempotency key's hash ('' none), 8 body's fingerprint, 9 life of the key (ms),
--       10 most jobs the tenant may have waiting, 11 life of the finished job (ms),
--       12 '1' to refuse what today's budget has no room for, waiting jobs included
-- -> {1, wake, queued at (ms), place in its flow, 'budget' when that holds it} accepted | {1, wake} accepted by this call before | {2, first job's id} replayed | {-1} other body under this key | {-2} tenant's line is full
--    | {-3, cap} it costs more than a whole day's budget | {-4, until it resets (ms)} today's budget has no room
-- from nothing to queued
local id, tenant = ARGV[1], ARGV[2]
local idem = ARGV[7] ~= '' and k_idempotency(tenant, ARGV[7])
if idem then
  local known = fields(idem, 'job', 'body', 'batch')
  if known.batch then return { -1 } end
  if known.job and known.job ~= id then
    if known.body == ARGV[8] then return { 2, known.job } end
    return { -1 }
  end
end
if call('EXISTS', k_job(id)) == 1 then return { 1, wake() } end
local waiting = 0
for _, priority in ipairs(PRIORITIES) do
  waiting = waiting + tonumber(call('HGET', K_DEPTH, tenant .. '|' .. priority) or 0)
end
if waiting >= tonumber(ARGV[10]) then return { -2 } end
local cap, images = cap_of(tenant), tonumber(ARGV[3])
if cap and images > cap then return { -3, cap } end
if cap and ARGV[12] == '1' then
  local ahead = charged_today(tenant) + tonumber(call('HGET', K_DEPTH, tenant .. '|images') or 0)
  if ahead + images > cap then return { -4, cap_resets_in_ms() } end
end

local seq = call('INCR', K_SEQ)
call('HSET', k_job(id), 'v', SCHEMA, 'tenant', tenant, 'images', ARGV[3], 'priority', ARGV[4], 'request', ARGV[5],
  'seq', seq, 'attempt', 1, 'queued_ms', int(NOW), 'ttl_ms', ARGV[11])
if tonumber(ARGV[6]) > 0 then
  call('HSET', k_job(id), 'expires_ms', ARGV[6], 'paused_base_ms', int(paused_ms()))
  due_in('x:' .. id, tonumber(ARGV[6]))
end
if idem then
  call('HSET', idem, 'job', id, 'body', ARGV[8])
  call('PEXPIRE', idem, ARGV[9])
end
local job = { id = id, tenant = tenant, attempt = '1', images = images, priority = ARGV[4], batch = '-',
  seq = seq }
set_status(job, 'queued')
line_push(job)
if call('SADD', K_TENANTS, tenant) == 1 then due_in('t:' .. tenant .. ':' .. TRIM_FIRST .. ':', TRIM_EVERY_MS) end
count_usage(tenant, 'jobs', 1)
count_usage(tenant, 'images_requested', job.images)
return { 1, wake(), int(NOW), call('ZRANK', k_flow(tenant, job.batch, job.priority), id) + 1,
  is_held(tenant) and 'budget' or '' }
