#!lua flags=allow-oom
-- Have a store message sent again soon: the worker that got it has no room.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 delay (ms)
-- -> 1 done | -1 stale
local attempt = load_attempt(ARGV[1], ARGV[2])
if attempt.state ~= 'storing' or attempt.lease ~= ARGV[3] then return -1 end
begun('store', attempt.message_ms) -- its message was consumed, and others are being stored
call('HDEL', k_attempt(ARGV[1], ARGV[2]), 'message_ms')
due_in(due_of(ARGV[1], ARGV[2]), tonumber(ARGV[4]))
return 1
