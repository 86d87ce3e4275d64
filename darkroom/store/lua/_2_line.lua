-- Places in the line, and who has the next turn.

local function add_depth(field, amount)
  if call('HINCRBY', K_DEPTH, field, amount) == 0 then call('HDEL', K_DEPTH, field) end
end

-- A newcomer starts level with whoever is next, with neither credit nor debt.
local function enter(turns, member)
  if call('ZSCORE', turns, member) then return end
  local first = call('ZRANGE', turns, 0, 0, 'WITHSCORES')
  call('ZADD', turns, first[2] or 0, member)
end

local function line_push(job)
  if call('ZADD', k_flow(job.tenant, job.batch, job.priority), job.seq, job.id) == 0 then return end
  enter(k_flows(job.tenant, job.priority), job.batch)
  enter(K_TURNS, job.tenant)
  add_depth(job.tenant .. '|' .. job.priority, 1)
  add_depth('*|jobs', 1)
  add_depth('*|images', job.images)
end

local function line_remove(job)
  local flow, flows = k_flow(job.tenant, job.batch, job.priority), k_flows(job.tenant, job.priority)
  if call('ZREM', flow, job.id) == 0 then return false end
  add_depth(job.tenant .. '|' .. job.priority, -1)
  add_depth('*|jobs', -1)
  add_depth('*|images', -job.images)
  if call('EXISTS', flow) == 0 then call('ZREM', flows, job.batch) end
  for _, priority in ipairs(PRIORITIES) do
    if call('EXISTS', k_flows(job.tenant, priority)) == 1 then return true end
  end
  call('ZREM', K_TURNS, job.tenant)
  return true
end

local function wake()
  return call('SET', K_WAKE, '1', 'NX', 'PX', 2000) and 1 or 0
end

local function add_unstored(images) add_depth('*|unstored', images) end
