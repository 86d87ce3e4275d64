-- Slots belong to attempts, reservations to sends; money is counted from the moment of sending.

local function free_slot(attempt)
  call('ZREM', k_slots(attempt.lane), member_of(attempt.id, attempt.n))
  call('ZREM', k_unsent(attempt.lane), member_of(attempt.id, attempt.n))
end

local function give_back_send(attempt)
  if attempt.send_ref and call('ZREM', k_sends(attempt.lane), attempt.send_ref) == 1 then
    call('HINCRBY', k_lane(attempt.lane), 'used', -tonumber(attempt.send_ref:match('^%d+')))
  end
end

-- Upstream may have counted the send at any instant up to now.
local function end_send(attempt)
  if attempt.send_ref then
    call('ZADD', k_sends(attempt.lane), 'XX', int(NOW + RATE_WINDOW_MS), attempt.send_ref)
  end
end

local function paused_ms()
  local state = fields(K_CLOCK, 'paused_total_ms', 'paused_since_ms')
  local total = tonumber(state.paused_total_ms or 0)
  if state.paused_since_ms then total = total + NOW - tonumber(state.paused_since_ms) end
  return total
end

local function count_usage(tenant, name, amount)
  local key = k_usage(tenant, math.floor(NOW / 86400000))
  if call('HINCRBY', key, name, amount) == tonumber(amount) then call('PEXPIRE', key, KEEP_USAGE_MS) end
end

-- Money: counted from the moment of sending, taken back only when nothing was created.
local function add_spent(job, images)
  call('HINCRBY', k_job(job.id), 'spent_images', images)
  call('HINCRBY', K_TOTALS, 'spent_images', images)
  count_usage(job.tenant, 'spent_images', images)
end
