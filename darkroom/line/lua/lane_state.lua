#!lua flags=allow-oom
-- Pause or open a lane. Only admission stops: looks, copies and webhooks go on.
-- ARGV: 1 lane, 2 'paused' or 'open', 3 reason: of a pause ('same': stay paused as it is), or the one that is over
--       ('operator': whichever it is), 4 probe in (ms, 0 never; later, the more often it was opened in vain)
-- -> 1 changed | 0 it was so already, or is paused for another reason | -1 an operator's pause stands
local name, key, reason = ARGV[1], k_lane(ARGV[1]), ARGV[3]
local lane = fields(key, 'state', 'reason', 'trials')
local paused = lane.state == 'paused'
if paused and lane.reason == 'operator' and reason ~= 'operator' then return -1 end
if ARGV[2] == 'open' then
  if not paused or (reason ~= 'operator' and reason ~= lane.reason) then return 0 end
  if reason == 'operator' then
    call('HDEL', key, 'trials', 'suspects')
  elseif DOUBTED[reason] then
    call('HINCRBY', key, 'trials', 1) -- until a send is accepted, the balance may not say all
  end
  open_lane(name)
  return 1
end
if reason == 'same' then
  if not paused then return 0 end
  reason = lane.reason
elseif reason == 'storage' and paused and lane.reason ~= 'storage' then
  return 0
end
local changed = not paused or lane.reason ~= reason
call('HSET', key, 'state', 'paused', 'reason', reason)
if changed then call('HDEL', key, 'trial') end
if not paused then call('HSET', key, 'paused_ms', int(NOW)) end
if tonumber(ARGV[4]) > 0 then
  local delay = probe_delay(reason, lane.trials, tonumber(ARGV[4]))
  call('HSET', key, 'resumes_ms', int(NOW + delay))
  due_in('l:' .. name, delay)
else
  call('HDEL', key, 'resumes_ms')
end
settle_clock()
return changed and 1 or 0
