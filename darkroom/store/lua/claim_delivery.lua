#!lua flags=allow-oom
-- Take one delivery for one attempt.
-- ARGV: 1 delivery id, 2 lease known from the message, 3 lease (ms)
-- -> {1, new lease, now (ms), delivery record, event record} | {-1} stale, or it waits for its host
local key = k_delivery(ARGV[1])
local delivery = fields(key, 'status', 'lease', 'event', 'message_ms', 'url')
if delivery.status ~= 'pending' or delivery.lease ~= ARGV[2] then return { -1 } end
if call('ZSCORE', k_host_queue(host_of(delivery.url)), ARGV[1]) then return { -1 } end
begun('notify', delivery.message_ms)
local lease = call('HINCRBY', key, 'lease', 1)
call('HDEL', key, 'message_ms')
due_in('d:' .. ARGV[1], tonumber(ARGV[3]))
return { 1, int(lease), int(NOW), call('HGETALL', key), call('HGETALL', k_event(delivery.event)) }
