#!lua flags=allow-oom
-- Count a send that upstream refused for a reason that may be the job's own.
-- ARGV: 1 job id, 2 attempt, 3 send number
-- -> how many sends in a row of this attempt were refused so; the same send counts once
return count_refusal(ARGV[1], ARGV[2], ARGV[3])
