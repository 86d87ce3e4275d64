#!lua flags=allow-oom
-- Give a waiting job a prediction that was bought for it although this server knows nothing of that: the writes that told
-- of it were lost in a failover. It counts as sent then, against the rate too, and is not bought again.
-- ARGV: 1 job id, 2 prediction id, 3 lane, 4 when it was created (ms), 5 first look in (ms)
-- -> 1 done | 0 known already | -1 the job does not wait (any more) | -2 it is admitted: back in its place soon
--    | -3 the prediction belongs to another attempt
-- attempt from nothing or queued to generating; job from queued to generating
local id, prediction = ARGV[1], ARGV[2]
local job = load_job(id)
if not job then return -1 end
local n, owner = job.attempt, owner_of(prediction)
if owner then return owner == member_of(id, n) and 0 or -3 end
local attempt = load_attempt(id, n)
if attempt.state == 'admitted' then return -2 end
if job.status ~= 'queued' or not line_remove(job) then return -1 end
attempt.lane = ARGV[3]
call('SET', k_prediction(prediction), member_of(id, n), 'PX', KEEP_PREDICTION_MS)
local sends = call('HINCRBY', k_attempt(id, n), 'sends', 1)
call('HINCRBY', k_job(id), 'submits', 1)
call('HSET', k_attempt(id, n), 'v', SCHEMA, 'lane', ARGV[3], 'sent_ms', ARGV[4], 'submitted_ms', ARGV[4],
  'accepted_ms', int(NOW), 'adopted', '1', 'unknown_ms', int(NOW), 'unknown', 'its intent was lost in a failover',
  'sent_paused_ms', int(paused_ms()))
call('HDEL', k_attempt(id, n), 'send_ref')
local counts_until = tonumber(ARGV[4]) + RATE_WINDOW_MS
if counts_until > NOW then
  local cost = call('HGET', k_lane(ARGV[3]), 'rate_cost') == 'requests' and 1 or job.images
  local ref = cost .. ':' .. member_of(id, n) .. ':' .. sends .. ':' .. (attempt.lease or 0)
  call('ZADD', k_sends(ARGV[3]), int(counts_until), ref)
  call('HINCRBY', k_lane(ARGV[3]), 'used', cost)
end
spend(job, attempt)
generate(attempt, prediction, tonumber(ARGV[5]))
set_status(job, 'generating')
return 1
