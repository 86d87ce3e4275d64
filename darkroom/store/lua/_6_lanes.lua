-- Lanes: their pace, what stops their admission, and what opens them again.

local RECOVER_MS = 120000
local LONGEST_PROBE_MS = 600000

-- The share of the rate in force. A refusal lowers it; it comes back with time, wholly two minutes after the last one.
local function pace_of(lane)
  local rest = 1 - (NOW - tonumber(lane.slowed_ms or 0)) / RECOVER_MS
  return 1 - (1 - tonumber(lane.pace or 1)) * math.max(0, math.min(1, rest))
end

-- The clock of deadlines stands still while every lane is paused.
local function settle_clock()
  local all_paused = true
  for _, name in ipairs(call('SMEMBERS', K_LANES)) do
    if call('HGET', k_lane(name), 'state') ~= 'paused' then all_paused = false end
  end
  local since = call('HGET', K_CLOCK, 'paused_since_ms')
  if all_paused and not since then
    call('HSET', K_CLOCK, 'paused_since_ms', int(NOW))
  elseif since and not all_paused then
    call('HSET', K_CLOCK, 'paused_total_ms', int(paused_ms()))
    call('HDEL', K_CLOCK, 'paused_since_ms')
  end
end

-- What an account that looks fine may still refuse: each opening that no send was accepted after doubles the time until
-- the next.
local DOUBTED = { balance = true, auth = true, upstream = true }

local function probe_delay(reason, trials, probe_ms)
  if not DOUBTED[reason] then return probe_ms end
  return math.min(math.max(probe_ms, LONGEST_PROBE_MS), probe_ms * 2 ^ math.min(tonumber(trials or 0), 20))
end

local function open_lane(name)
  call('HSET', k_lane(name), 'state', 'open', 'failures', '')
  call('HDEL', k_lane(name), 'reason', 'resumes_ms', 'paused_ms', 'trial', 'bucket_failures', 'blamed')
  due_in('l:' .. name, 0)
  settle_clock()
end

-- Upstream took a send and its money; where that was the one let through to find out, the lane opens.
local function lane_works(name, member)
  local lane = fields(k_lane(name), 'state', 'reason', 'trial')
  call('HSET', k_lane(name), 'failures', '')
  call('HDEL', k_lane(name), 'trials', 'suspects', 'blamed')
  if lane.state == 'paused' and lane.reason == 'balance' and lane.trial == member then open_lane(name) end
end

local function bucket_works(name)
  if name then call('HDEL', k_lane(name), 'bucket_failures') end
end
