-- Admit the jobs that the lane's limits allow now, fairest first: tenants by turns weighted by images, within a tenant
-- by priority, within that its flows by turns. A job at its turn that does not fit holds the turn.
-- ARGV: 1 lane, 2 most jobs to admit, 3 lease (ms), 4 most paid images that may wait for the bucket
-- -> {reason, next (ms from now, -1 unknown), id, attempt, lease, id, attempt, lease, …}
--    reason: 'empty', 'paused', 'slots', 'rate', 'spacing', 'storage', 'more' (the count was reached)
-- job stays queued; its attempt goes from nothing or queued to admitted
local name, most, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lane = fields(k_lane(name), 'state', 'images_per_minute', 'max_concurrency', 'rate_cost', 'pace', 'next_ms',
  'not_before_ms')
if lane.state == 'paused' then return { 'paused', -1 } end
local rate = math.max(1, math.floor(tonumber(lane.images_per_minute) * tonumber(lane.pace or 1)))
local concurrency, next_ms = tonumber(lane.max_concurrency), tonumber(lane.next_ms or 0)
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
local line_cost = tonumber(call('HGET', K_DEPTH, by_request and '*|jobs' or '*|images') or 0)
local unsent_most = math.max(1, math.ceil(rate * 2 / 60))

local BURST = 64 -- what an idle lane may have unsent, so that a burst does not wait in Celery's queue past its lease

local function room_for(cost)
  if unstored >= tonumber(ARGV[4]) then return 'storage', -1 end
  if slots >= concurrency then return 'slots', -1 end
  if used + cost > rate and not (cost > rate and used == 0) then
    local first = call('ZRANGE', k_sends(name), 0, 0, 'WITHSCORES')[2]
    return 'rate', math.max(1, tonumber(first) - NOW)
  end
  if line_cost > rate - used then
    if next_ms > NOW then return 'spacing', next_ms - NOW end
    if unsent >= unsent_most then return 'spacing', 1000 end
  end
  if unsent >= math.max(BURST, unsent_most) then return 'spacing', 200 end
  return nil
end

local admitted = {}
local reason, wait = 'more', 0
for _ = 1, most do
  local id = line_head()
  if not id then
    reason, wait = 'empty', -1
    break
  end
  local job = load_job(id)
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
  call('ZADD', k_slots(name), int(NOW + lease_ms + SLOT_LAPSE_MS), member)
  call('ZADD', k_unsent(name), int(NOW), member)
  call('ZADD', k_sends(name), int(NOW + lease_ms + SLOT_LAPSE_MS), send_ref)
  call('HINCRBY', k_lane(name), 'used', cost)
  due_in(due_of(id, job.attempt), lease_ms)
  used, slots, unsent, line_cost = used + cost, slots + 1, unsent + 1, line_cost - cost
  next_ms = math.max(next_ms, NOW - 1000) + cost * 60000 / rate
  admitted[#admitted + 1] = id
  admitted[#admitted + 1] = job.attempt
  admitted[#admitted + 1] = int(lease)
end
call('HSET', k_lane(name), 'next_ms', int(next_ms))
if wait > 0 then call('ZADD', K_DUE, 'LT', int(NOW + math.max(wait, 200)), 'l:' .. name) end
local reply = { reason, math.ceil(wait) }
for _, value in ipairs(admitted) do reply[#reply + 1] = value end
return reply
