#!lua flags=allow-oom
-- Mark a send whose answer was lost: money may be spent, so it is looked for and never repeated blindly.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 look for it in (ms), 5 what happened (text)
-- -> 1 done | -1 stale
-- attempt from submitting to unconfirmed
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if attempt.state ~= 'submitting' or attempt.lease ~= ARGV[3] then return -1 end
local job = load_job(id)
end_send(attempt)
call('HSET', k_attempt(id, n), 'state', 'unconfirmed', 'unknown_ms', int(NOW), 'unknown', ARGV[5], 'listings', 0)
call('HINCRBY', k_attempt(id, n), 'lease', 1)
call('ZADD', k_slots(attempt.lane), 'XX', int(NOW + SLOT_LAPSE_MS), member_of(id, n))
due_in(due_of(id, n), tonumber(ARGV[4]))
if is_current(job, n) then set_status(job, 'unconfirmed') end
return 1
