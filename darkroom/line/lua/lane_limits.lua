#!lua flags=allow-oom
-- Change a lane's limits while it runs; they stay until other ones are configured.
-- ARGV: 1 lane, 2 images a minute ('' as it is, '0' as configured), 3 concurrency (likewise)
-- -> 1 done | -1 no such lane
local key = k_lane(ARGV[1])
if call('SISMEMBER', K_LANES, ARGV[1]) == 0 then return -1 end
for i, name in ipairs({ 'images_per_minute', 'max_concurrency' }) do
  local wanted = ARGV[i + 1]
  if wanted == '0' then wanted = call('HGET', key, 'configured_' .. name) or '' end
  if wanted ~= '' then call('HSET', key, name, wanted) end
end
if call('HGET', key, 'state') ~= 'paused' then due_in('l:' .. ARGV[1], 0) end
return 1
