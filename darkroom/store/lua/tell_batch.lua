#!lua flags=allow-oom
-- What became of a batch is written down in the bucket: say so, and tell who wants to be told.
-- ARGV: 1 batch id, 2 lease, 3 where it is written (JSON)
-- -> 1 done | -1 stale, or the batch goes on again
local id, key = ARGV[1], k_batch(ARGV[1])
local batch = fields(key, 'status', 'tenant', 'ttl_ms', 'lease', 'webhook')
if batch.lease ~= ARGV[2] or not (batch.status == 'completed' or batch.status == 'canceled') then return -1 end
if call('ZREM', K_DUE, 'm:' .. id) == 0 then return -1 end
call('HINCRBY', key, 'lease', 1)
call('HSET', key, 'manifest', ARGV[3])
start_sweep(id, 'retire', 0)
local webhook = batch.webhook and cjson.decode(batch.webhook) or default_webhook(batch.tenant)
local names = webhook and type(webhook.events) == 'table'
if not webhook or (names and not wants(webhook, 'batch.completed')) or (not names and not batch.webhook) then return 1 end
call('HSET', key, 'webhook_status', 'pending')
batch.id = id
post(batch, 'batch.completed', webhook.url, cjson.encode(call('HGETALL', key)))
return 1
