#!lua flags=allow-oom
-- Let go of an attempt whose outputs could not all be stored yet, to be taken up again after a while.
-- ARGV: 1 job id, 2 attempt, 3 lease, 4 delay (ms), 5 what stands in the way (text), 6 sources read anew (JSON, '' same),
--       7 '1' when upstream does not have what is missing: since when is kept, as long as that goes on
-- -> 1 done | -1 stale
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if attempt.state ~= 'storing' or attempt.lease ~= ARGV[3] then return -1 end
call('HINCRBY', k_attempt(id, n), 'lease', 1)
call('HINCRBY', k_attempt(id, n), 'store_tries', 1)
call('HSET', k_attempt(id, n), 'store_error', ARGV[5])
if ARGV[6] ~= '' then call('HSET', k_attempt(id, n), 'sources', ARGV[6]) end
if ARGV[7] == '1' then
  call('HSETNX', k_attempt(id, n), 'gone_ms', int(NOW))
else
  call('HDEL', k_attempt(id, n), 'gone_ms')
end
due_in(due_of(id, n), tonumber(ARGV[4]))
return 1
