#!lua flags=allow-oom
-- Count a job that met a failing upstream, or a failing bucket; three different ones in a row pause the lane.
-- ARGV: 1 lane, 2 job id, 3 'failures' (of upstream) or 'bucket_failures'
-- -> 1 the lane is to be paused now | 0 not yet, or it is paused already
local key = k_lane(ARGV[1])
local lane = fields(key, 'state', ARGV[3])
if lane.state == 'paused' then return 0 end
local failures = lane[ARGV[3]] or ''
if not failures:find(ARGV[2], 1, true) then failures = failures .. ' ' .. ARGV[2] end
local _, count = failures:gsub(' ', ' ')
call('HSET', key, ARGV[3], failures)
return count >= 3 and 1 or 0
