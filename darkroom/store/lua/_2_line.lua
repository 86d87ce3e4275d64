-- Places in the line, and who has the next turn: start-time fair queueing, weighted by images.
-- Tenants take turns, and within a tenant and priority its flows do. A tag says how many images somebody has had.

local function add_depth(field, amount)
  local depth = call('HINCRBY', K_DEPTH, field, amount)
  if depth == 0 then call('HDEL', K_DEPTH, field) end
  if field == '*|jobs' and depth == amount then call_for_dispatch() end -- nobody waited before
end

local function next_tag(turns) return tonumber(call('ZRANGE', turns, 0, 0, 'WITHSCORES')[2] or 0) end

-- A newcomer starts level with whoever is next, with neither credit nor debt; one that left starts where it left, if
-- that is further on: posting one heavy job at a time is no way to be next every time.
local function enter(turns, left, member)
  if call('ZSCORE', turns, member) then return end
  local tag = math.max(next_tag(turns), tonumber(call('ZSCORE', left, member) or 0))
  call('ZREM', left, member)
  call('ZADD', turns, tag, member)
end

-- A tag that whoever is next has reached says nothing more; where nobody waits, none does.
local function leave(turns, left, member)
  local tag = call('ZSCORE', turns, member)
  if not tag then return end
  call('ZREM', turns, member)
  if call('EXISTS', turns) == 0 then
    call('DEL', left)
  else
    call('ZADD', left, tag, member)
    call('ZREMRANGEBYSCORE', left, '-inf', next_tag(turns))
  end
end

-- Takes back the charge for a turn that came to nothing. What others have had meanwhile is not held against them.
local function refund(turns, left, member, images)
  local tag = call('ZSCORE', turns, member)
  if tag then
    call('ZREM', turns, member)
    call('ZADD', turns, math.max(next_tag(turns), tonumber(tag) - images), member)
  elseif call('ZSCORE', left, member) then
    call('ZINCRBY', left, -images, member)
  end
end

local function take_turn(job)
  call('ZINCRBY', k_flows(job.tenant, job.priority), job.images, job.batch)
  call('ZINCRBY', K_TURNS, job.images, job.tenant)
end

local function refund_turn(job)
  refund(k_flows(job.tenant, job.priority), k_left_flows(job.tenant, job.priority), job.batch, job.images)
  refund(K_TURNS, K_LEFT, job.tenant, job.images)
end

-- The job that a tenant sends when it has its turn.
local function tenant_head(tenant)
  for _, priority in ipairs(PRIORITIES) do
    local batch = call('ZRANGE', k_flows(tenant, priority), 0, 0)[1]
    if batch then return call('ZRANGE', k_flow(tenant, batch, priority), 0, 0)[1] end
  end
  return nil
end

-- A job that comes before the one that could not be paid for may itself be paid for.
local function line_push(job)
  local flow = k_flow(job.tenant, job.batch, job.priority)
  if call('ZADD', flow, job.seq, job.id) == 0 then return end
  if is_batch_held(job.batch) then
    if call('ZRANK', flow, job.id) == 0 then reconsider(job.tenant, job.batch) end
  else
    enter(k_flows(job.tenant, job.priority), k_left_flows(job.tenant, job.priority), job.batch)
    if not is_held(job.tenant) then
      enter(K_TURNS, K_LEFT, job.tenant)
    elseif tenant_head(job.tenant) == job.id then
      reconsider(job.tenant, job.batch)
    end
  end
  add_depth(job.tenant .. '|' .. job.priority, 1)
  add_depth(job.tenant .. '|images', job.images)
  add_depth('*|jobs', 1)
  add_depth('*|images', job.images)
end

local function line_remove(job)
  local flow, flows = k_flow(job.tenant, job.batch, job.priority), k_flows(job.tenant, job.priority)
  if call('ZREM', flow, job.id) == 0 then return false end
  reconsider(job.tenant, job.batch)
  add_depth(job.tenant .. '|' .. job.priority, -1)
  add_depth(job.tenant .. '|images', -job.images)
  add_depth('*|jobs', -1)
  add_depth('*|images', -job.images)
  if call('EXISTS', flow) == 0 then leave(flows, k_left_flows(job.tenant, job.priority), job.batch) end
  for _, priority in ipairs(PRIORITIES) do
    if call('EXISTS', k_flows(job.tenant, priority)) == 1 then return true end
  end
  leave(K_TURNS, K_LEFT, job.tenant)
  return true
end

-- The job whose turn it is.
local function line_head()
  local tenant = call('ZRANGE', K_TURNS, 0, 0)[1]
  return tenant and tenant_head(tenant)
end

local function wake()
  return call('SET', K_WAKE, '1', 'NX', 'PX', 2000) and 1 or 0
end

local function add_unstored(images) add_depth('*|unstored', images) end
