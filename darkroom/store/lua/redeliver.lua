-- Send a delivery again, with the same event id and a fresh schedule; its URL is not gone any more. While an attempt at it
-- is under way, that one's end decides: it never goes out twice at once.
-- ARGV: 1 delivery id
-- -> 1 done | 0 it is pending already (brought forward to now) | -1 no such delivery
local key, timer = k_delivery(ARGV[1]), 'd:' .. ARGV[1]
local d = fields(key, 'status', 'event', 'tenant', 'job', 'url', 'claimed', 'lease')
if not d.status or call('EXISTS', k_event(d.event)) == 0 then return -1 end
call('DEL', k_gone(d.tenant, d.url))
local pending = d.status == 'pending'
if pending and d.claimed and d.claimed == d.lease then
  call('HSET', key, 'again', '1', 'tries', 0)
  return 0
end
local host = host_of(d)
call('PERSIST', key)
call('PERSIST', k_event(d.event))
call('ZREM', k_undelivered(d.tenant), ARGV[1])
call('ZREM', k_host_queue(host), ARGV[1])
call('HSET', key, 'status', 'pending', 'tries', 0, 'first_ms', int(NOW), 'next_ms', int(NOW))
call('HINCRBY', key, 'lease', 1)
call('HDEL', key, 'message_ms', 'settled_ms', 'claimed')
tell_subject(ARGV[1], d.job, 'pending')
if call('SISMEMBER', k_flying(host), ARGV[1]) == 1 then
  due_in(timer, 0)
elseif host_has_room(host) then
  fly(host, ARGV[1])
  due_in(timer, 0)
else
  wait_for_host(host, ARGV[1], d.url)
end
return pending and 0 or 1
