#!lua flags=allow-oom
-- Put an admitted job that was never sent back to its place: its lease ran out, or its worker is leaving.
-- ARGV: 1 job id, 2 attempt, 3 lease
-- -> 1 done | -1 stale
-- attempt from admitted to queued
local attempt = load_attempt(ARGV[1], ARGV[2])
if attempt.state ~= 'admitted' or attempt.lease ~= ARGV[3] then return -1 end
local job = load_job(ARGV[1])
free_slot(attempt)
give_back_send(attempt)
give_back_charge(job, attempt)
call('ZREM', K_DUE, due_of(ARGV[1], ARGV[2]))
call('HSET', k_attempt(ARGV[1], ARGV[2]), 'state', 'queued')
call('HINCRBY', k_attempt(ARGV[1], ARGV[2]), 'lease', 1)
refund_turn(job)
line_push(job)
return 1
