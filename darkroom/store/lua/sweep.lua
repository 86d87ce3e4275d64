#!lua flags=allow-oom
-- Take the lane's one sweep for lost sends, go on with it, or end it; the next one may begin a while after.
-- ARGV: 1 lane, 2 the sweeper's own mark, 3 how long it holds without being renewed (ms), 4 '1' when it has ended
-- -> 1 it is the caller's | 0 somebody else sweeps, or one has just ended
local key = k_sweep(ARGV[1])
local holder = call('GET', key)
if holder and holder ~= ARGV[2] then return 0 end
call('SET', key, ARGV[4] == '1' and 'ended' or ARGV[2], 'PX', ARGV[3])
return 1
