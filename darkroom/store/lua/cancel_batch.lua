#!lua flags=allow-oom
-- Cancel what waits of a batch: nothing of it is admitted from now on; a sweep ends its waiting jobs. Each call means what
-- waits then: jobs may have been retried since the one before.
-- ARGV: 1 batch id
-- -> 1 canceled | -1 no such batch | -2 finished already
local id, key = ARGV[1], k_batch(ARGV[1])
local batch = fields(key, 'status', 'tenant')
if not batch.status or batch.status == 'accepting' or batch.status == 'dropped' then return -1 end
if batch.status ~= 'running' then return -2 end
call('HSET', key, 'canceled_ms', int(NOW), 'canceled_seq', call('GET', K_SEQ))
stop_sweep(id, 'retry')
leave_rotation(batch.tenant, id)
call('HDEL', K_HELD_BATCHES, id)
call('ZREM', K_DUE, 'b:' .. id)
start_sweep(id, 'cancel', SWEEP_PATIENCE_MS)
close_batch(id) -- all may have ended but for what the retry had still to let go on
return 1
