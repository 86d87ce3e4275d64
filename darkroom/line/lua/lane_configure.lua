#!lua flags=allow-oom
-- Make a lane known, or change its limits while it runs.
-- ARGV: 1 lane, 2 images a minute, 3 concurrency, 4 'images' or 'requests'
-- -> 1
call('SADD', K_LANES, ARGV[1])
call('HSETNX', k_lane(ARGV[1]), 'state', 'open')
call('HSET', k_lane(ARGV[1]), 'images_per_minute', ARGV[2], 'max_concurrency', ARGV[3], 'rate_cost', ARGV[4])
return 1
