-- Begin to let the failed jobs of a batch go on.
-- ARGV: 1 batch id, 2 codes of errors to retry too (comma-separated; 'canceled' and 'expired' name jobs that ended so)
-- -> 1 begun, by this call or before | -1 no such batch | -2 another retry of it is under way
local key = k_batch(ARGV[1])
local batch = fields(key, 'status', 'linked_ms', 'retry_line', 'retry_include', 'last_line')
if not batch.linked_ms then return -1 end
if batch.retry_line then return batch.retry_include == ARGV[2] and 1 or -2 end
local counts = call('HGETALL', key)
for i = 1, #counts, 2 do
  if counts[i]:sub(1, 6) == 'retry_' then call('HDEL', key, counts[i]) end
end
call('HSET', key, 'retry_include', ARGV[2])
start_sweep(ARGV[1], 'retry', SWEEP_PATIENCE_MS)
return 1
