#!lua flags=allow-oom
-- Let one job go although the lane is paused for its balance, to see whether upstream takes it; the next such trial
-- comes twice as late.
-- ARGV: 1 lane, 2 shortest time between two trials (ms)
-- -> 1 the job at its turn may go | 0 the lane is not paused for its balance
local key = k_lane(ARGV[1])
local lane = fields(key, 'state', 'reason', 'trial', 'trials')
if lane.state ~= 'paused' or lane.reason ~= 'balance' then return 0 end
if lane.trial ~= 'open' then lane.trials = call('HINCRBY', key, 'trials', 1) end -- one that nobody took was none
local delay = probe_delay('balance', lane.trials, tonumber(ARGV[2]))
call('HSET', key, 'trial', 'open', 'resumes_ms', int(NOW + delay))
call('HDEL', key, 'blamed')
due_in('l:' .. ARGV[1], delay)
return 1
