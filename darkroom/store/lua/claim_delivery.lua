#!lua flags=allow-oom
-- Take one delivery for one attempt.
-- ARGV: 1 delivery id, 2 lease known from the message, 3 lease (ms)
-- -> {1, new lease, now (ms), delivery record, event record, the tenant's own secrets (newest first),
--     1 if the operator's sign too, else 0} | {-1} stale, or it waits for its host
local key = k_delivery(ARGV[1])
local delivery = fields(key, 'status', 'lease', 'event', 'message_ms', 'url', 'tenant')
if delivery.status ~= 'pending' or delivery.lease ~= ARGV[2] then return { -1 } end
if call('ZSCORE', k_host_queue(host_of(delivery)), ARGV[1]) then return { -1 } end
begun('notify', delivery.message_ms)
local lease = call('HINCRBY', key, 'lease', 1)
call('HDEL', key, 'message_ms')
call('HSET', key, 'claimed', lease)
due_in('d:' .. ARGV[1], tonumber(ARGV[3]))
local known, operators_ms = secrets_of(delivery.tenant)
local secrets = {}
for i, one in ipairs(known) do secrets[i] = one.secret end
return { 1, int(lease), int(NOW), call('HGETALL', key), call('HGETALL', k_event(delivery.event)), secrets,
  (#secrets == 0 or operators_ms) and 1 or 0 }
