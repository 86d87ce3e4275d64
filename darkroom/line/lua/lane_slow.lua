#!lua flags=allow-oom
-- Upstream refused a send for its rate: wait as long as it asks, and go on at a lower pace, which recovers with time.
-- What many workers are told within a second is one refusal.
-- ARGV: 1 lane, 2 wait (ms), 3 job refused, 4 its cost, 5 attempt, 6 send number
-- -> how many sends in a row this attempt was refused although each went alone into an empty window (0: it did not);
--    the same send counts once
local name, key = ARGV[1], k_lane(ARGV[1])
local lane = fields(key, 'state', 'pace', 'not_before_ms', 'slowed_ms', 'images_per_minute')
if NOW - tonumber(lane.slowed_ms or 0) > 1000 then
  call('HSET', key, 'pace', math.max(0.1, pace_of(lane) * 0.9), 'slowed_ms', int(NOW))
end
call('HSET', key, 'not_before_ms', int(math.max(tonumber(lane.not_before_ms or 0), NOW + tonumber(ARGV[2]))))
if lane.state ~= 'paused' then call('ZADD', K_DUE, 'LT', int(NOW + tonumber(ARGV[2])), 'l:' .. name) end
if tonumber(ARGV[4]) <= tonumber(lane.images_per_minute) then return 0 end
local attempt = fields(k_attempt(ARGV[3], ARGV[5]), 'state', 'sends', 'refusals', 'refused_send')
if attempt.state ~= 'submitting' or attempt.sends ~= ARGV[6] then return 0 end
local send, refusals = tonumber(ARGV[6]), tonumber(attempt.refusals or 0)
if attempt.refused_send == ARGV[6] then return refusals end
refusals = tonumber(attempt.refused_send) == send - 1 and refusals + 1 or 1
call('HSET', k_attempt(ARGV[3], ARGV[5]), 'refusals', refusals, 'refused_send', ARGV[6])
return refusals
