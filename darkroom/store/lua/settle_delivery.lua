#!lua flags=allow-oom
-- Record one attempt at a delivery and what follows from it, for the delivery and for its host.
-- ARGV: 1 delivery id, 2 lease, 3 'delivered', 'pending', 'exhausted' or 'gone', 4 next attempt in (ms, '' none),
--       5 the attempts so far (JSON), 6 what was heard of the host: 'up', 'failed' or '' (it was not asked)
-- -> {1, 'opened', 'closed' or '' (the host's breaker), how many others may go now} | {-1} stale
local key, timer = k_delivery(ARGV[1]), 'd:' .. ARGV[1]
local d = fields(key, 'status', 'lease', 'event', 'ttl_ms', 'tenant', 'job', 'url')
if d.status ~= 'pending' or d.lease ~= ARGV[2] then return { -1 } end
call('HINCRBY', key, 'lease', 1)
call('HINCRBY', key, 'tries', 1)
call('HSET', key, 'status', ARGV[3], 'attempts', ARGV[5])
call('HINCRBY', K_TOTALS, 'delivery_attempts', 1)
if ARGV[3] == 'pending' then
  call('HSET', key, 'next_ms', int(NOW + tonumber(ARGV[4])))
  due_in(timer, tonumber(ARGV[4]))
else
  end_delivery(ARGV[1], d, ARGV[3])
  if ARGV[3] == 'gone' then call('SET', k_gone(d.tenant, d.url), int(NOW), 'PX', GONE_KEEP_MS) end
end
local host = host_of(d.url)
local change = leave_host(host, ARGV[1], ARGV[6])
return { 1, change, let_go(host) }
