-- Slots belong to attempts, reservations to sends; what is counted of a tenant's day.

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

-- It is known what became of the attempt's send: nothing that is found upstream can be its own any more.
local function settle_send(attempt)
  call('ZREM', k_open_sends(attempt.lane), member_of(attempt.id, attempt.n))
end

local function paused_ms()
  local state = fields(K_CLOCK, 'paused_total_ms', 'paused_since_ms')
  local total = tonumber(state.paused_total_ms or 0)
  if state.paused_since_ms then total = total + NOW - tonumber(state.paused_since_ms) end
  return total
end

local function today() return math.floor(NOW / DAY_MS) end

-- Counts something of a tenant's UTC day: today's, unless another is given.
local function count_usage(tenant, name, amount, day)
  local key = k_usage(tenant, day or today())
  if call('HINCRBY', key, name, amount) == tonumber(amount) then call('PEXPIRE', key, KEEP_USAGE_MS) end
end
