#!lua flags=allow-oom
-- Record one attempt at a delivery and what follows from it.
-- ARGV: 1 delivery id, 2 lease, 3 'delivered', 'pending', 'exhausted' or 'gone', 4 next attempt in (ms, '' none),
--       5 the attempts so far (JSON)
-- -> 1 done | -1 stale
local key, timer = k_delivery(ARGV[1]), 'd:' .. ARGV[1]
local delivery = fields(key, 'status', 'lease', 'event', 'ttl_ms')
if delivery.status ~= 'pending' or delivery.lease ~= ARGV[2] then return -1 end
call('HINCRBY', key, 'lease', 1)
call('HINCRBY', key, 'tries', 1)
call('HSET', key, 'status', ARGV[3], 'attempts', ARGV[5])
call('HINCRBY', K_TOTALS, 'delivery_attempts', 1)
if ARGV[3] == 'pending' then
  call('HSET', key, 'next_ms', int(NOW + tonumber(ARGV[4])))
  due_in(timer, tonumber(ARGV[4]))
  return 1
end
call('HDEL', key, 'next_ms')
call('ZREM', K_DUE, timer)
call('HINCRBY', K_TOTALS, 'deliveries_' .. ARGV[3], 1)
call('PEXPIRE', key, delivery.ttl_ms)
call('PEXPIRE', k_event(delivery.event), delivery.ttl_ms)
return 1
