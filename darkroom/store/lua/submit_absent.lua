#!lua flags=allow-oom
-- Note that a complete listing did not hold the prediction of a lost send. A listing that began before the last byte
-- could have left proves nothing, and one counts once however often this is called for it.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 look again in (ms), 5 the listing's mark, 6 when it began (ms)
-- -> {how many such listings there were, ms from the last byte to the listing, absent sends of this attempt before}
--    | {-1} stale
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if attempt.state ~= 'unconfirmed' or attempt.lease ~= ARGV[3] then return { -1 } end
local record = fields(k_attempt(id, n), 'unknown_ms', 'absent', 'listings', 'listing')
local listings, since = tonumber(record.listings or 0), tonumber(ARGV[6]) - tonumber(record.unknown_ms)
if since >= 0 and record.listing ~= ARGV[5] then
  listings = listings + 1
  call('HSET', k_attempt(id, n), 'listings', listings, 'listing', ARGV[5])
end
due_in(due_of(id, n), tonumber(ARGV[4]))
return { listings, int(since), tonumber(record.absent or 0) }
