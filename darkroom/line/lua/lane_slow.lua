#!lua flags=allow-oom
-- Upstream refused a send for its rate: wait as long as it asks, go on at a lower pace, and recover with time.
-- ARGV: 1 lane, 2 wait (ms), 3 job refused, 4 its cost
-- -> how many times in a row this job was refused although it went alone into an empty window (0: it did not)
local name, key = ARGV[1], k_lane(ARGV[1])
local lane = fields(key, 'pace', 'not_before_ms', 'slowed_ms', 'images_per_minute')
local pace = tonumber(lane.pace or 1)
if NOW - tonumber(lane.slowed_ms or 0) > 1000 then pace = math.max(0.1, pace * 0.9) end
call('HSET', key, 'pace', pace, 'slowed_ms', int(NOW),
  'not_before_ms', int(math.max(tonumber(lane.not_before_ms or 0), NOW + tonumber(ARGV[2]))))
call('ZADD', K_DUE, 'LT', int(NOW + tonumber(ARGV[2])), 'l:' .. name) -- never later than a probe that is planned
local alone = tonumber(ARGV[4]) > tonumber(lane.images_per_minute)
if not alone or call('EXISTS', k_job(ARGV[3])) == 0 then return 0 end
return call('HINCRBY', k_job(ARGV[3]), 'refusals', 1)
