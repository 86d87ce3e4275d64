#!lua flags=allow-oom
-- Note that upstream has called back about an attempt's prediction, and have that looked at now. The first call makes a
-- look that is under way stale: it may have asked before the prediction ended, and would put the next one off.
-- ARGV: 1 job id, 2 attempt, 3 prediction id
-- -> 1 it is looked at now | 0 there is nothing to look at, or it has been called for before
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if not attempt.state then return 0 end
call('HDEL', k_lane(attempt.lane), 'callback_misses') -- whichever prediction it is of: callbacks come
if attempt.prediction_id ~= ARGV[3] or attempt.called_ms then return 0 end
call('HSET', k_attempt(id, n), 'called_ms', int(NOW))
call('HINCRBY', K_TOTALS, 'callbacks', 1)
if attempt.state ~= 'generating' then return 0 end
call('HINCRBY', k_attempt(id, n), 'lease', 1)
due_in(due_of(id, n), 0)
return 1
