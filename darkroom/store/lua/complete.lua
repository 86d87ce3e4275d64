#!lua flags=allow-oom
-- Every output is in the bucket, and job.json too: say so. An attempt that was given up yields late outputs instead.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 images delivered, 5 when it was finished (ms; as job.json says)
-- -> 1 job completed | 2 kept as late outputs | -1 stale. A call repeated because its answer was lost gives it again.
-- attempt from storing to done; job from storing to completed
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if attempt.state == 'done' and attempt.lease == int(tonumber(ARGV[3]) + 1) then
  return tonumber(call('HGET', k_attempt(id, n), 'done_as') or -1) -- only this call's holder has completed it
end
if attempt.state ~= 'storing' or attempt.lease ~= ARGV[3] then return -1 end
local job = load_job(id)
local done_as = is_current(job, n) and 1 or 2
-- stored late and completed after a retry: what was counted then is not new
local new_images = tonumber(ARGV[4]) - tonumber(call('HGET', k_attempt(id, n), 'delivered') or 0)
call('HSET', k_attempt(id, n), 'state', 'done', 'stored_ms', int(NOW), 'delivered', ARGV[4], 'done_as', done_as)
call('HINCRBY', k_attempt(id, n), 'lease', 1)
call('HDEL', k_attempt(id, n), 'sources', 'store_error', 'gone_ms', 'send_ref', 'key', 'mark', 'callback')
call('ZREM', K_DUE, due_of(id, n))
add_unstored(-job.images)
bucket_works(attempt.lane)
count_usage(job.tenant, 'images_delivered', new_images)
count_of_batch(job, 'delivered_images', new_images)
call('HINCRBY', K_TOTALS, 'delivered_images', new_images)
if done_as == 1 then
  job.finished_ms = ARGV[5]
  finish(job, 'completed')
  return 1
end
local late = call('HGET', k_job(id), 'late')
call('HSET', k_job(id), 'late', late and (late .. ',' .. n) or n)
emit(job, 'job.outputs_late')
retire(job)
return 2
