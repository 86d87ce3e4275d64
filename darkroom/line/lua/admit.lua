-- Admit the jobs that the lane's limits allow now, fairest first: tenants by turns weighted by images, within a tenant
-- by priority, within that its flows by turns. A job at its turn that does not fit holds the turn; who has no budget
-- left for it is passed over until it has, and a job that costs more than a whole budget fails. Of a lane paused for its
-- balance a single job may go, to find out whether that still holds.
-- ARGV: 1 lane, 2 most jobs to admit, 3 lease (ms), 4 most paid images that may wait for the bucket
-- -> {reason, next (ms from now, -1 unknown), id, attempt, lease, id, attempt, lease, …}
--    reason: 'empty', 'paused', 'slots', 'rate', 'spacing', 'storage', 'more' (the count was reached), 'server' (another
--    one answers than before: its past is to be looked into first)
-- job stays queued, its attempt goes from nothing or queued to admitted; or job from queued to failed
local name, most, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if call('HEXISTS', K_DEPTH, '*|jobs') == 1 then call_for_dispatch() end
local lane = fields(k_lane(name), 'state', 'images_per_minute', 'max_concurrency', 'rate_cost', 'pace', 'slowed_ms',
  'not_before_ms', 'spaced_ms', 'spaced_cost', 'trial', 'server')
if not is_known_server(lane) then
  call('ZADD', K_DUE, 'LT', int(NOW + 1000), 'l:' .. name)
  return { 'server', -1 }
end
local on_trial = lane.state == 'paused' and lane.trial == 'open'
if lane.state == 'paused' and not on_trial then return { 'paused', -1 } end
local rate = math.max(1, math.floor(tonumber(lane.images_per_minute) * pace_of(lane)))
local concurrency, per_image_ms = tonumber(lane.max_concurrency), 60000 / rate
local spaced_ms, spaced_cost = tonumber(lane.spaced_ms or 0), tonumber(lane.spaced_cost or 0)
local not_before = tonumber(lane.not_before_ms or 0)
if not_before > NOW then return { 'rate', not_before - NOW } end

call('ZREMRANGEBYSCORE', k_slots(name), '-inf', int(NOW))
local gone = call('ZRANGEBYSCORE', k_sends(name), '-inf', int(NOW), 'LIMIT', 0, 2000)
for _, ref in ipairs(gone) do
  call('ZREM', k_sends(name), ref)
  call('HINCRBY', k_lane(name), 'used', -tonumber(ref:match('^%d+')))
end
local used = tonumber(call('HGET', k_lane(name), 'used') or 0)
local slots, unsent = call('ZCARD', k_slots(name)), call('ZCARD', k_unsent(name))
local unstored = tonumber(call('HGET', K_DEPTH, '*|unstored') or 0)
local by_request = lane.rate_cost == 'requests'
local line_cost = tonumber(call('HGET', K_DEPTH, by_request and '*|jobs' or '*|images') or 0) - held_cost(by_request)
local unsent_most = math.max(1, math.ceil(rate * 2 / 60))

local BURST = 64 -- what an idle lane may have unsent, so that a burst does not wait in Celery's queue past its lease

-- When enough has stopped counting; what is being sent is not known to stop yet.
local function opens_in(cost)
  local excess, at = math.min(used, used + cost - rate), NOW
  local sends = call('ZRANGE', k_sends(name), 0, 63, 'WITHSCORES')
  for i = 1, #sends, 2 do
    if excess <= 0 then break end
    excess, at = excess - tonumber(sends[i]:match('^%d+')), tonumber(sends[i + 1])
  end
  return math.max(1, at - NOW)
end

local function room_for(cost)
  if unstored >= tonumber(ARGV[4]) then return 'storage', -1 end
  if slots >= concurrency then return 'slots', -1 end
  if used + cost > rate and not (cost > rate and used == 0) then
    return 'rate', opens_in(cost)
  end
  if line_cost > rate - used then
    local next_ms = spaced_ms + spaced_cost * per_image_ms
    if next_ms > NOW then return 'spacing', next_ms - NOW end
    if unsent >= unsent_most then return 'spacing', 1000 end
  end
  if unsent >= math.max(BURST, unsent_most) then return 'spacing', 200 end
  return nil
end

local admitted = {}
local reason, wait = 'more', 0
for _ = 1, most do
  local job, others = next_payable()
  if not job then
    if not others then reason, wait = 'empty', -1 end
    break
  end
  local id = job.id
  local cost = by_request and 1 or job.images
  local why, delay = room_for(cost)
  if why then
    reason, wait = why, delay
    break
  end
  take_turn(job)
  line_remove(job)
  local key, member = k_attempt(id, job.attempt), member_of(id, job.attempt)
  local lease, sends = call('HINCRBY', key, 'lease', 1), tonumber(call('HGET', key, 'sends') or 0)
  local send_ref = cost .. ':' .. member .. ':' .. (sends + 1) .. ':' .. lease
  call('HSET', key, 'v', SCHEMA, 'state', 'admitted', 'lane', name, 'send_ref', send_ref)
  charge(job, { id = id, n = job.attempt })
  call('ZADD', k_slots(name), int(NOW + lease_ms + SLOT_LAPSE_MS), member)
  call('ZADD', k_unsent(name), int(NOW), member)
  call('ZADD', k_sends(name), int(NOW + lease_ms + SLOT_LAPSE_MS), send_ref)
  call('HINCRBY', k_lane(name), 'used', cost)
  due_in(due_of(id, job.attempt), lease_ms)
  used, slots, unsent, line_cost = used + cost, slots + 1, unsent + 1, line_cost - cost
  spaced_ms, spaced_cost = math.max(spaced_ms + spaced_cost * per_image_ms, NOW - 1000), cost
  admitted[#admitted + 1] = id
  admitted[#admitted + 1] = job.attempt
  admitted[#admitted + 1] = int(lease)
  if on_trial then
    call('HSET', k_lane(name), 'trial', member)
    reason, wait = 'paused', -1
    break
  end
end
if #admitted > 0 then
  call('HSET', k_lane(name), 'spaced_ms', int(spaced_ms), 'spaced_cost', spaced_cost)
  call_for('submit')
end
if wait > 0 and not on_trial then call('ZADD', K_DUE, 'LT', int(NOW + math.max(wait, 200)), 'l:' .. name) end
local reply = { reason, math.ceil(wait) }
for _, value in ipairs(admitted) do reply[#reply + 1] = value end
return reply
