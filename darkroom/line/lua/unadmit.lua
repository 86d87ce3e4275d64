#!lua flags=allow-oom
-- Put an admitted job that was never sent back to its place: its lease ran out, or its worker is leaving.
-- ARGV: 1 job id, 2 attempt, 3 lease
-- -> 1 done | -1 stale
-- attempt from admitted to queued (and the job to canceled, where its batch was canceled meanwhile)
local attempt = load_attempt(ARGV[1], ARGV[2])
if attempt.state ~= 'admitted' or attempt.lease ~= ARGV[3] then return -1 end
local job = load_job(ARGV[1])
give_up_admission(job, attempt)
call('HINCRBY', k_attempt(ARGV[1], ARGV[2]), 'lease', 1)
if is_canceled_with_batch(job) then finish(job, 'canceled') else line_push(job) end
return 1
