#!lua flags=allow-oom
-- Count a job whose send met a failing upstream; three different ones in a row pause the lane.
-- ARGV: 1 lane, 2 job id
-- -> 1 the lane is to be paused now | 0 not yet, or it is paused already
local key = k_lane(ARGV[1])
local lane = fields(key, 'state', 'failures')
if lane.state == 'paused' then return 0 end
local failures = lane.failures or ''
if not failures:find(ARGV[2], 1, true) then failures = failures .. ' ' .. ARGV[2] end
local _, count = failures:gsub(' ', ' ')
call('HSET', key, 'failures', failures)
return count >= 3 and 1 or 0
