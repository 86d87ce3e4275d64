#!lua flags=allow-oom
-- Take a batch that has ended, to write down in the bucket what became of it.
-- ARGV: 1 batch id, 2 lease (ms)
-- -> {lease, batch record} | {} it goes on again, or it is written
local key = k_batch(ARGV[1])
if not call('ZSCORE', K_DUE, 'm:' .. ARGV[1]) then return {} end
local status = call('HGET', key, 'status')
if status ~= 'completed' and status ~= 'canceled' then
  call('ZREM', K_DUE, 'm:' .. ARGV[1])
  return {}
end
local lease = call('HINCRBY', key, 'lease', 1)
due_in('m:' .. ARGV[1], tonumber(ARGV[2]))
return { int(lease), call('HGETALL', key) }
