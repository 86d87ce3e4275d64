#!lua flags=allow-oom
-- Fail a job whose generation takes too long. Its attempt goes on being looked at: what it yields is stored late.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 error (JSON)
-- -> 1 done | 0 the job had ended before | -1 stale
-- job from generating to failed
local attempt = load_attempt(ARGV[1], ARGV[2])
if attempt.state ~= 'generating' or attempt.lease ~= ARGV[3] then return -1 end
local job = load_job(ARGV[1])
if not is_current(job, ARGV[2]) then return 0 end
finish(job, 'failed', ARGV[4])
return 1
