#!lua flags=allow-oom
-- Note that a complete listing did not hold the prediction of a lost send.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 look again in (ms)
-- -> {how many such listings there were, ms since the last byte could have left, absent sends of this attempt before}
--    | {-1} stale
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if attempt.state ~= 'unconfirmed' or attempt.lease ~= ARGV[3] then return { -1 } end
local record = fields(k_attempt(id, n), 'unknown_ms', 'absent')
local listings = call('HINCRBY', k_attempt(id, n), 'listings', 1)
due_in(due_of(id, n), tonumber(ARGV[4]))
return { listings, int(NOW - tonumber(record.unknown_ms)), tonumber(record.absent or 0) }
