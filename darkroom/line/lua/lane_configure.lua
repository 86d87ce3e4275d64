#!lua flags=allow-oom
-- Make a lane known, or change its limits while it runs.
-- ARGV: 1 lane, 2 images a minute, 3 concurrency, 4 'images' or 'requests'
-- -> 1
local key = k_lane(ARGV[1])
local lane = fields(key, 'images_per_minute', 'rate_cost')
call('SADD', K_LANES, ARGV[1])
call('HSETNX', key, 'state', 'open')
call('HSET', key, 'images_per_minute', ARGV[2], 'max_concurrency', ARGV[3], 'rate_cost', ARGV[4])
if lane.images_per_minute ~= ARGV[2] or lane.rate_cost ~= ARGV[4] then
  call('HDEL', key, 'next_ms') -- the spacing at the old rate
end
return 1
