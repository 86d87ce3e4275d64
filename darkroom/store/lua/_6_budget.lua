-- Money. An attempt is charged to its tenant's day and its batch from admission on, and counted as spent from the moment
-- of sending; both are taken back, on the day they were counted, only when nothing was created. Amounts are in images.

local function charge_images(job, images, day)
  count_usage(job.tenant, 'charged_images', images, day)
  count_of_batch(job, 'charged_images', images)
end

local function charge(job, attempt)
  call('HSET', k_attempt(attempt.id, attempt.n), 'charged_day', today())
  charge_images(job, job.images, today())
end

local function give_back_charge(job, attempt)
  if not attempt.charged_day then return end
  call('HDEL', k_attempt(attempt.id, attempt.n), 'charged_day')
  charge_images(job, -job.images, attempt.charged_day)
  reconsider(job.tenant, job.batch)
end

local function add_spent(job, attempt, images, day)
  call('HINCRBY', k_job(job.id), 'spent_images', images)
  call('HINCRBY', k_attempt(attempt.id, attempt.n), 'spent_images', images)
  call('HINCRBY', K_TOTALS, 'spent_images', images)
  count_of_batch(job, 'spent_images', images)
  count_usage(job.tenant, 'spent_images', images, day)
end

-- The attempt's one prediction is being bought, or turns out to have been.
local function spend(job, attempt)
  if not attempt.charged_day then charge(job, attempt) end
  call('HSET', k_attempt(attempt.id, attempt.n), 'spent_day', today())
  add_spent(job, attempt, job.images, today())
end

-- Upstream has made a second prediction for the attempt: nobody wanted it, and it is paid all the same.
local function spend_twice(job, attempt)
  call('HSET', k_attempt(attempt.id, attempt.n), 'duplicate_day', today())
  charge_images(job, job.images, today())
  add_spent(job, attempt, job.images, today())
end

-- Nothing was created.
local function take_back(job, attempt)
  call('HDEL', k_attempt(attempt.id, attempt.n), 'spent_day')
  add_spent(job, attempt, -job.images, attempt.spent_day or today())
  give_back_charge(job, attempt)
end

-- Upstream pays back what it had accepted and then failed to make; a prediction it lost may have been made.
local function count_refund(job, attempt, error_json)
  if attempt.state ~= 'generating' or cjson.decode(error_json).code == 'output_unavailable' then return end
  if attempt.refund_day then return end
  local day = attempt.spent_day or today()
  call('HSET', k_attempt(attempt.id, attempt.n), 'refund_day', day)
  count_usage(job.tenant, 'refundable_images', job.images, day)
end

-- It has made it after all.
local function discount_refund(job, attempt)
  if not attempt.refund_day then return end
  call('HDEL', k_attempt(attempt.id, attempt.n), 'refund_day')
  count_usage(job.tenant, 'refundable_images', -job.images, attempt.refund_day)
end

-- -> images that a tenant may be charged a day (nil: any number)
local function cap_of(tenant)
  local caps = call('HMGET', K_CAPS, tenant, '*')
  return tonumber(caps[1] or caps[2] or nil)
end

local function charged_today(tenant)
  return tonumber(call('HGET', k_usage(tenant, today()), 'charged_images') or 0)
end

local function cap_resets_in_ms() return (today() + 1) * DAY_MS - NOW end

local function hold_tenant(tenant)
  leave(K_TURNS, K_LEFT, tenant)
  call('HSET', K_HELD, tenant, int(NOW))
  due_in('h:' .. tenant, cap_resets_in_ms())
end

local function hold_batch(tenant, batch)
  leave_rotation(tenant, batch)
  call('HSET', K_HELD_BATCHES, batch, tenant)
end

-- -> images that the job's batch may be charged in all (nil: any number)
local function batch_cap_of(job)
  if job.batch == '-' then return nil end
  return tonumber(call('HGET', k_batch(job.batch), 'cap_images') or call('HGET', K_CAPS, ':batch') or nil)
end

local function exceeds_batch(job)
  local cap = batch_cap_of(job)
  return cap ~= nil and tonumber(call('HGET', k_batch(job.batch), 'charged_images') or 0) + job.images > cap
end

local function exceeds_day(job)
  local cap = cap_of(job.tenant)
  return cap ~= nil and charged_today(job.tenant) + job.images > cap
end

-- -> the whole budget that is smaller than the job, in images (nil: none; it can be paid for some day)
local function cap_below(job)
  for _, cap in ipairs({ cap_of(job.tenant) or math.huge, batch_cap_of(job) or math.huge }) do
    if job.images > cap then return cap end
  end
  return nil
end

-- A budget that was lowered can never pay for the job: it ends, lest it hold up for ever what waits behind it.
local function fail_too_dear(job, cap)
  line_remove(job)
  finish(job, 'failed', cjson.encode({ code = 'exceeds_budget', retryable = true,
    message = 'its ' .. int(job.images) .. ' images are more than the whole budget of ' .. int(cap)
      .. ' images; it was not sent. Have the budget raised and retry, or ask for fewer images' }))
end

-- Takes who can't pay for the job at its turn out of the rotation: the batch, the tenant, or where no wait would help
-- the job itself; or a job whose batch was canceled. -> whether it did
local function pass_over(job)
  if is_canceled_with_batch(job) then
    line_remove(job)
    finish(job, 'canceled')
    return true
  end
  local cap = cap_below(job)
  if cap then
    fail_too_dear(job, cap)
    return true
  end
  if exceeds_batch(job) then
    hold_batch(job.tenant, job.batch)
    return true
  end
  if exceeds_day(job) then
    hold_tenant(job.tenant)
    return true
  end
  return false
end

local HOLD_MOST = 64

-- What of the line can't go whatever the limits: it must not slow down the rest. Counts so many tenants, no more.
local function held_cost(by_request)
  if call('EXISTS', K_HELD) == 0 then return 0 end
  local cost = 0
  for i, tenant in ipairs(call('HKEYS', K_HELD)) do
    if i > HOLD_MOST then break end
    local names = by_request and PRIORITIES or { 'images' }
    for _, name in ipairs(names) do cost = cost + tonumber(call('HGET', K_DEPTH, tenant .. '|' .. name) or 0) end
  end
  return cost
end

local passed_over = 0

-- Gives the job at its turn, past those that are held or ended now; a script passes over so many, no more.
-- -> job | nil, whether there may be another
local function next_payable()
  while passed_over < HOLD_MOST do
    local id = line_head()
    if not id then return nil, false end
    local job = load_job(id)
    if not pass_over(job) then return job end
    passed_over = passed_over + 1
  end
  return nil, true
end

-- Gives a held tenant its turn back, unless its next job still can't be paid for.
local function release_tenant(tenant)
  local id = tenant_head(tenant)
  local job = id and load_job(id)
  if job and exceeds_day(job) and not exceeds_batch(job) and not cap_below(job) then
    due_in('h:' .. tenant, cap_resets_in_ms())
    return
  end
  call('ZREM', K_DUE, 'h:' .. tenant)
  call('HDEL', K_HELD, tenant)
  if job then enter(K_TURNS, K_LEFT, tenant) end
end

-- Gives a held batch its place back, unless its next job still can't be paid for; nothing but a change lets it go.
local function release_batch(batch)
  call('ZREM', K_DUE, 'b:' .. batch)
  local tenant = call('HGET', K_HELD_BATCHES, batch)
  if not tenant then return end
  local waiting = {}
  for _, priority in ipairs(PRIORITIES) do
    local id = call('ZRANGE', k_flow(tenant, batch, priority), 0, 0)[1]
    local job = id and #waiting == 0 and load_job(id)
    if job and exceeds_batch(job) and not cap_below(job) then return end
    if id then waiting[#waiting + 1] = priority end
  end
  call('HDEL', K_HELD_BATCHES, batch)
  for _, priority in ipairs(waiting) do
    enter(k_flows(tenant, priority), k_left_flows(tenant, priority), batch)
  end
  if #waiting == 0 then return end
  if is_held(tenant) then
    reconsider(tenant, '-') -- the batch's job may be next now, and have room
  else
    enter(K_TURNS, K_LEFT, tenant)
  end
end
