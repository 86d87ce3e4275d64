-- Send a delivery again, with the same event id and a fresh schedule; its URL is not gone any more.
-- ARGV: 1 delivery id
-- -> 1 done | 0 it is pending already (brought forward to now) | -1 no such delivery
local key = k_delivery(ARGV[1])
local d = fields(key, 'status', 'event', 'tenant', 'job', 'url')
if not d.status or call('EXISTS', k_event(d.event)) == 0 then return -1 end
call('PERSIST', key)
call('PERSIST', k_event(d.event))
call('DEL', k_gone(d.tenant, d.url))
call('ZREM', k_undelivered(d.tenant), ARGV[1])
call('ZREM', k_host_queue(host_of(d.url)), ARGV[1])
call('HSET', key, 'status', 'pending', 'tries', 0, 'first_ms', int(NOW), 'next_ms', int(NOW))
call('HINCRBY', key, 'lease', 1)
call('HDEL', key, 'message_ms', 'settled_ms')
tell_subject(ARGV[1], d.job, 'pending')
due_in('d:' .. ARGV[1], 0)
return d.status == 'pending' and 0 or 1
