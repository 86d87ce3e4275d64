#!lua flags=allow-oom
-- Make a lane known with the limits of the environment; one that an operator changed stays until its setting changes.
-- ARGV: 1 lane, 2 images a minute, 3 concurrency, 4 'images' or 'requests'
-- -> 1
local key = k_lane(ARGV[1])
local lane = fields(key, 'configured_images_per_minute', 'configured_max_concurrency')
call('SADD', K_LANES, ARGV[1])
call('HSETNX', key, 'state', 'open')
call('HSETNX', key, 'server', server_id())
call('HSETNX', key, 'server_seen_ms', int(NOW))
if lane.configured_images_per_minute ~= ARGV[2] then
  call('HSET', key, 'images_per_minute', ARGV[2], 'configured_images_per_minute', ARGV[2])
end
if lane.configured_max_concurrency ~= ARGV[3] then
  call('HSET', key, 'max_concurrency', ARGV[3], 'configured_max_concurrency', ARGV[3])
end
call('HSET', key, 'rate_cost', ARGV[4])
settle_clock()
return 1
