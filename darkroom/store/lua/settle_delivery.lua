#!lua flags=allow-oom
-- Record one attempt at a delivery and what follows from it, for the delivery and for its host.
-- ARGV: 1 delivery id, 2 lease, 3 'delivered', 'pending', 'exhausted' or 'gone', 4 next attempt in (ms, '' none),
--       5 the attempts so far (JSON), 6 what was heard of the host: 'up', 'failed' or '' (it was not asked)
-- -> {1, 'opened', 'closed' or '' (the host's breaker), how many others may go now} | {-1} stale
-- What was called for again meanwhile (redeliver.lua) begins its schedule anew, unless this attempt has delivered it.
local key, timer = k_delivery(ARGV[1]), 'd:' .. ARGV[1]
local d = fields(key, 'status', 'lease', 'event', 'ttl_ms', 'tenant', 'job', 'url', 'again')
if d.status ~= 'pending' or d.lease ~= ARGV[2] then return { -1 } end
call('HINCRBY', key, 'lease', 1)
call('HINCRBY', key, 'tries', 1)
call('HSET', key, 'attempts', ARGV[5])
call('HDEL', key, 'claimed', 'again')
call('HINCRBY', K_TOTALS, 'delivery_attempts', 1)
local host = host_of(d)
local change = leave_host(host, ARGV[1], d.url, ARGV[6])
if d.again and ARGV[3] ~= 'delivered' then
  call('HSET', key, 'tries', 0, 'next_ms', int(NOW))
  due_in(timer, 0)
elseif ARGV[3] == 'pending' then
  call('HSET', key, 'next_ms', int(NOW + tonumber(ARGV[4])))
  due_in(timer, tonumber(ARGV[4]))
else
  end_delivery(ARGV[1], d, ARGV[3])
  if ARGV[3] == 'gone' then call('SET', k_gone(d.tenant, d.url), int(NOW), 'PX', GONE_KEEP_MS) end
end
return { 1, change, let_go(host) }
