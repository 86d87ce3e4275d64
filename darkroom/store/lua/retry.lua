-- Let a failed, canceled or expired job go on: what upstream may still have is looked at again in the same attempt at
-- no cost, otherwise it gets a new attempt at the end of the line. A prediction that upstream called failed or did not
-- know is asked for once more (`ask`) before another one is bought.
-- ARGV: 1 job id, 2 '1' to force a new attempt, 3 the caller's own mark ('' none): a call repeated because its answer
--       was lost gives the same answer again
-- -> {1, wake} waiting for a new attempt | {3, 0} resumed | {-1} no such job | {-2} not failed, canceled or expired
--    | {-3} its last submit is not settled
-- job from failed, canceled or expired to queued, unconfirmed, generating or storing
local id, mark = ARGV[1], ARGV[3] or ''
local job = load_job(id)
if not job and is_compacted(id) then return { -2 } end
if not job then return { -1 } end
local done = fields(k_job(id), 'retry_mark', 'retry_code')
if mark ~= '' and done.retry_mark == mark then return { tonumber(done.retry_code), 0 } end
if not TERMINAL[job.status] or job.status == 'completed' then return { -2 } end
local how = go_on(job, ARGV[2] == '1', false)
if how == 'unsettled' then return { -3 } end
local code = how == 'new' and 1 or 3
if mark ~= '' then call('HSET', k_job(id), 'retry_mark', mark, 'retry_code', code) end
if code == 3 then return { 3, 0 } end
return { 1, wake() }
