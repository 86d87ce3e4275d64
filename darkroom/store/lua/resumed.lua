#!lua flags=allow-oom
-- Note that upstream still works on a prediction that a retry asked about: its attempt goes on as any other.
-- ARGV: 1 job id, 2 attempt, 3 lease
-- -> 1 done | -1 stale
local attempt = load_attempt(ARGV[1], ARGV[2])
if attempt.state ~= 'generating' or attempt.lease ~= ARGV[3] then return -1 end
call('HDEL', k_attempt(ARGV[1], ARGV[2]), 'ask')
return 1
