#!lua flags=allow-oom
-- Take a send back that created nothing: the job keeps its place, its attempt and its money. What an earlier send of the
-- attempt is known to have bought is used instead of buying again.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 'never_left' (reservation given back) or 'not_now' (kept) or 'absent'
-- -> 1 done | -1 stale
-- attempt from submitting (or unconfirmed, when absent) to queued (or generating, with what was bought before)
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
local from = ARGV[4] == 'absent' and 'unconfirmed' or 'submitting'
if attempt.state ~= from or attempt.lease ~= ARGV[3] then return -1 end
local job = load_job(id)
free_slot(attempt)
settle_send(attempt)
if ARGV[4] == 'never_left' then give_back_send(attempt) else end_send(attempt) end
if ARGV[4] == 'absent' then call('HINCRBY', k_attempt(id, n), 'absent', 1) end
call('ZREM', K_DUE, due_of(id, n))
if use_duplicate(job, attempt) then return 1 end
call('HSET', k_attempt(id, n), 'state', 'queued')
call('HDEL', k_attempt(id, n), 'sent_ms')
call('HINCRBY', k_attempt(id, n), 'lease', 1)
take_back(job, attempt)
refund_turn(job)
if is_current(job, n) then queue_again(job, attempt) end
retire(job)
return 1
