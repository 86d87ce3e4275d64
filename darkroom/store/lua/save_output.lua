#!lua flags=allow-oom
-- Keep what became of one output, so that a later try copies only what is missing. It shows that storing goes on, also
-- where every place is taken by slow copies and no message has begun for long.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 index, 5 output (JSON)
-- -> 1 done | -1 stale
local attempt = load_attempt(ARGV[1], ARGV[2])
if attempt.state ~= 'storing' or attempt.lease ~= ARGV[3] then return -1 end
begun('store')
call('HSET', k_attempt(ARGV[1], ARGV[2]), 'out:' .. ARGV[4], ARGV[5])
return 1
