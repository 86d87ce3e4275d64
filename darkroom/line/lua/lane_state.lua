#!lua flags=allow-oom
-- Pause or open a lane. Only admission stops: looks, copies and webhooks go on.
-- ARGV: 1 lane, 2 'paused' or 'open', 3 reason ('' none, 'same': stay paused as it is), 4 probe in (ms, 0 never)
-- -> 1 changed | 0 it was so already | -1 an operator's pause stands
local name, key = ARGV[1], k_lane(ARGV[1])
local lane = fields(key, 'state', 'reason')
if lane.state == 'paused' and lane.reason == 'operator' and ARGV[3] ~= 'operator' then return -1 end
if ARGV[3] == 'same' and lane.state ~= 'paused' then return 0 end
local reason = ARGV[3] == 'same' and lane.reason or ARGV[3]
local changed = lane.state ~= ARGV[2] or (ARGV[2] == 'paused' and (lane.reason or '') ~= reason)
if ARGV[2] == 'paused' then
  call('HSET', key, 'state', 'paused', 'reason', reason)
  if lane.state ~= 'paused' then call('HSET', key, 'paused_ms', int(NOW)) end
  if tonumber(ARGV[4]) > 0 then
    call('HSET', key, 'resumes_ms', int(NOW + tonumber(ARGV[4])))
    due_in('l:' .. name, tonumber(ARGV[4]))
  else
    call('HDEL', key, 'resumes_ms')
  end
else
  call('HSET', key, 'state', 'open', 'failures', '')
  call('HDEL', key, 'reason', 'resumes_ms', 'paused_ms')
  due_in('l:' .. name, 0)
end
local all_paused = true
for _, other in ipairs(call('SMEMBERS', K_LANES)) do
  if call('HGET', k_lane(other), 'state') ~= 'paused' then all_paused = false end
end
local since = call('HGET', K_CLOCK, 'paused_since_ms')
if all_paused and not since then
  call('HSET', K_CLOCK, 'paused_since_ms', int(NOW))
elseif since and not all_paused then
  call('HSET', K_CLOCK, 'paused_total_ms', int(paused_ms()))
  call('HDEL', K_CLOCK, 'paused_since_ms')
end
return changed and 1 or 0
