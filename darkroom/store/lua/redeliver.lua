-- Send a finished delivery again, with the same event id and a fresh schedule.
-- ARGV: 1 delivery id
-- -> 1 done | 0 it is pending already (brought forward to now) | -1 no such delivery
local key = k_delivery(ARGV[1])
local delivery = fields(key, 'status', 'event')
if not delivery.status or call('EXISTS', k_event(delivery.event)) == 0 then return -1 end
local was_pending = delivery.status == 'pending'
call('PERSIST', key)
call('PERSIST', k_event(delivery.event))
call('HSET', key, 'status', 'pending', 'tries', 0)
call('HINCRBY', key, 'lease', 1)
call('HDEL', key, 'message_ms')
call('HSET', key, 'next_ms', int(NOW))
due_in('d:' .. ARGV[1], 0)
return was_pending and 0 or 1
