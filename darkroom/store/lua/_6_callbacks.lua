-- Upstream's callbacks: which are to come, and whether they can be relied on, so that looks are only a safety net.

local MISSES_MOST = 3

-- -> '' none is to come (any more) | 'awaited' | 'doubted': the lane's last ones did not come, looks must find the end
local function callback_of(attempt)
  if attempt.callback ~= '1' or attempt.called_ms then return '' end
  local misses = tonumber(call('HGET', k_lane(attempt.lane), 'callback_misses') or 0)
  return misses < MISSES_MOST and 'awaited' or 'doubted'
end

-- A look has found the end of a prediction before any callback told of it.
local function count_missed_callback(attempt)
  if callback_of(attempt) == '' then return end
  call('HINCRBY', k_lane(attempt.lane), 'callback_misses', 1)
  call('HINCRBY', K_TOTALS, 'callbacks_missed', 1)
end
