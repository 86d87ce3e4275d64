-- Shared by every script (put before its body by scripts.py). KEYS[1] is the root of all keys, e.g. "{darkroom}:".
-- Keys are built here and in keys.py and nowhere else; a test holds the two against each other.
-- An attempt is live while upstream may still be working on it or its outputs are not stored.
local ROOT = KEYS[1]
local call = redis.call
local SCHEMA = 1 -- of every record that scripts write; the same as records.SCHEMA_VERSION

local function k_job(id) return ROOT .. 'job:' .. id end
local function k_attempt(id, n) return ROOT .. 'attempt:' .. id .. ':' .. n end
local function k_index(tenant, status) return ROOT .. 'index:' .. tenant .. ':' .. status end
local function k_flow(tenant, batch, priority) return ROOT .. 'flow:' .. tenant .. ':' .. priority .. ':' .. batch end
local function k_flows(tenant, priority) return ROOT .. 'flows:' .. tenant .. ':' .. priority end
local function k_lane(name) return ROOT .. 'lane:' .. name end
local function k_slots(name) return ROOT .. 'lane:' .. name .. ':slots' end
local function k_sends(name) return ROOT .. 'lane:' .. name .. ':sends' end
local function k_unsent(name) return ROOT .. 'lane:' .. name .. ':unsent' end
local function k_prediction(id) return ROOT .. 'prediction:' .. id end
local function k_event(id) return ROOT .. 'event:' .. id end
local function k_delivery(id) return ROOT .. 'delivery:' .. id end
local function k_usage(tenant, day) return ROOT .. 'usage:' .. tenant .. ':' .. day end
local K_DUE = ROOT .. 'due'
local K_TURNS = ROOT .. 'turns'
local K_DEPTH = ROOT .. 'depth'
local K_CLOCK = ROOT .. 'clock'
local K_SEQ = ROOT .. 'seq'
local K_WAKE = ROOT .. 'wake'
local K_LANES = ROOT .. 'lanes'
local K_TENANTS = ROOT .. 'tenants'
local K_TOTALS = ROOT .. 'totals'
local K_WORKERS = ROOT .. 'workers'
local K_CHANNEL = ROOT .. 'changes'

local PRIORITIES = { 'high', 'normal', 'low' }
local TERMINAL = { completed = true, failed = true, canceled = true, expired = true }
local LIVE = { admitted = true, submitting = true, unconfirmed = true, generating = true, storing = true }
local KEEP_PREDICTION_MS = 8 * 86400 * 1000
local KEEP_USAGE_MS = 400 * 86400 * 1000
local RATE_WINDOW_MS = 60000
local SLOT_LAPSE_MS = 30 * 60000
local MAX_EVENTS_BYTES = 2000
local MAX_DELIVERIES = 32
local TRIM_MOST = 200
local TRIM_PAUSE_MS = 200
local TRIM_EVERY_MS = 10 * 60000
local TRIM_FIRST = 'completed'
local TRIM_NEXT = { completed = 'failed', failed = 'canceled', canceled = 'expired', expired = TRIM_FIRST }

local function int(number) return string.format('%.0f', number) end
local clock = call('TIME')
local NOW = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function fields(key, ...)
  local names, values, record = { ... }, call('HMGET', key, ...), {}
  for i, name in ipairs(names) do record[name] = values[i] or nil end
  return record
end

local function load_job(id)
  local job = fields(k_job(id), 'tenant', 'status', 'attempt', 'images', 'priority', 'batch', 'seq', 'events',
    'event_seq', 'cancel_requested_ms', 'ttl_ms')
  if not job.status then return nil end
  job.id, job.images, job.batch = id, tonumber(job.images), job.batch or '-'
  return job
end

local function load_attempt(id, n)
  local attempt = fields(k_attempt(id, n), 'state', 'lease', 'lane', 'sends', 'prediction_id', 'send_ref', 'sent_ms',
    'failed_in')
  attempt.id, attempt.n = id, n
  return attempt
end

local function member_of(id, n) return id .. ':' .. n end
local function due_of(id, n) return 'j:' .. id .. ':' .. n end
local function due_in(member, delay_ms) call('ZADD', K_DUE, int(NOW + delay_ms), member) end

-- ids that sort by time, of the same form as ids.py makes: 48 bits of milliseconds, then a number never given twice
local CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
local function base32(number, length)
  local text = {}
  for i = length, 1, -1 do
    local digit = number % 32
    text[i] = CROCKFORD:sub(digit + 1, digit + 1)
    number = (number - digit) / 32
  end
  return table.concat(text)
end
local function new_id(prefix)
  return prefix .. '_' .. base32(NOW, 10) .. base32(call('INCR', ROOT .. 'ids'), 16)
end

local function count_usage(tenant, name, amount)
  local key = k_usage(tenant, math.floor(NOW / 86400000))
  if call('HINCRBY', key, name, amount) == tonumber(amount) then call('PEXPIRE', key, KEEP_USAGE_MS) end
end

-- The line -----------------------------------------------------------------------------------------------------------

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

-- Takes the next slice of a tenant's finished jobs: entries of records whose time is over go. The place where it left off
-- is in the timer's own name, t:<tenant>:<status>:<last id>.
local function trim_index(timer)
  local tenant, status, last = timer:match('^t:([^:]*):(%a+):(.*)$')
  local index = k_index(tenant, status)
  local ids = call('ZRANGEBYLEX', index, last == '' and '-' or '(' .. last, '+', 'LIMIT', 0, TRIM_MOST)
  for _, id in ipairs(ids) do
    if call('EXISTS', k_job(id)) == 0 then call('ZREM', index, id) end
  end
  call('ZREM', K_DUE, timer)
  if #ids == TRIM_MOST then
    due_in('t:' .. tenant .. ':' .. status .. ':' .. ids[#ids], TRIM_PAUSE_MS)
  else
    local following = TRIM_NEXT[status]
    due_in('t:' .. tenant .. ':' .. following .. ':', following == TRIM_FIRST and TRIM_EVERY_MS or TRIM_PAUSE_MS)
  end
end

-- Slots and reservations ---------------------------------------------------------------------------------------------

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

-- Statuses, events, the outbox ---------------------------------------------------------------------------------------

local function set_status(job, status)
  local at, seq = int(NOW), tonumber(job.event_seq or 0) + 1
  local events = (job.events or '') .. job.attempt .. '-' .. seq .. ',' .. status .. ',' .. at .. ';'
  while #events > MAX_EVENTS_BYTES do events = events:sub(events:find(';', 1, true) + 1) end
  if job.status and job.status ~= status then call('ZREM', k_index(job.tenant, job.status), job.id) end
  call('ZADD', k_index(job.tenant, status), 0, job.id)
  call('HSET', k_job(job.id), 'status', status, 'events', events, 'event_seq', seq)
  call('PUBLISH', K_CHANNEL, job.id)
  job.status, job.events, job.event_seq = status, events, seq
end

local function late_attempts(id)
  local found = {}
  for n in (call('HGET', k_job(id), 'late') or ''):gmatch('%d+') do
    found[#found + 1] = { n, call('HGETALL', k_attempt(id, n)) }
  end
  return found
end

-- The current attempt's outputs are about to become the job's own.
local function no_longer_late(job)
  local others = {}
  for n in (call('HGET', k_job(job.id), 'late') or ''):gmatch('%d+') do
    if n ~= job.attempt then others[#others + 1] = n end
  end
  if #others == 0 then
    call('HDEL', k_job(job.id), 'late')
  else
    call('HSET', k_job(job.id), 'late', table.concat(others, ','))
  end
end

local function snapshot(job)
  return cjson.encode({ job = call('HGETALL', k_job(job.id)),
    attempt = call('HGETALL', k_attempt(job.id, job.attempt)), late = late_attempts(job.id) })
end

local function wants(webhook, kind)
  if type(webhook.events) ~= 'table' then return kind ~= 'job.outputs_late' end
  for _, wanted in ipairs(webhook.events) do
    if wanted == kind then return true end
  end
  return false
end

-- Writes the event and its delivery beside the status they tell of: at least once begins here.
local function emit(job, kind)
  local webhook = cjson.decode(call('HGET', k_job(job.id), 'request')).webhook
  if type(webhook) ~= 'table' or not wants(webhook, kind) then return end
  local event_id, delivery_id = new_id('evt'), new_id('dlv')
  call('HSET', k_event(event_id), 'v', SCHEMA, 'type', kind, 'at_ms', int(NOW), 'job', job.id, 'tenant', job.tenant,
    'record', snapshot(job))
  call('HSET', k_delivery(delivery_id), 'v', SCHEMA, 'event', event_id, 'type', kind, 'job', job.id, 'tenant', job.tenant,
    'url', webhook.url, 'status', 'pending', 'tries', 0, 'lease', 0, 'ttl_ms', job.ttl_ms)
  local ids = call('HGET', k_job(job.id), 'deliveries')
  ids = ids and (ids .. ',' .. delivery_id) or delivery_id
  local _, count = ids:gsub(',', ',')
  if count >= MAX_DELIVERIES then ids = ids:sub(ids:find(',', 1, true) + 1) end
  call('HSET', k_job(job.id), 'deliveries', ids)
  due_in('d:' .. delivery_id, 0)
end

-- A finished job lives its time out once none of its attempts is live; until then it stays.
local function retire(job)
  if not TERMINAL[job.status] then return end
  for n = 1, tonumber(job.attempt) do
    if LIVE[call('HGET', k_attempt(job.id, n), 'state') or ''] then return end
  end
  call('PEXPIRE', k_job(job.id), job.ttl_ms)
  for n = 1, tonumber(job.attempt) do call('PEXPIRE', k_attempt(job.id, n), job.ttl_ms) end
end

-- Takes that time away again: the job, or one of its attempts, goes on.
local function keep(job)
  call('PERSIST', k_job(job.id))
  for n = 1, tonumber(job.attempt) do call('PERSIST', k_attempt(job.id, n)) end
end

local function finish(job, status, error_json)
  call('HSET', k_job(job.id), 'finished_ms', job.finished_ms or int(NOW))
  if error_json and error_json ~= '' then call('HSET', k_job(job.id), 'error', error_json) end
  call('ZREM', K_DUE, 'x:' .. job.id)
  set_status(job, status)
  call('HINCRBY', K_TOTALS, status, 1)
  count_usage(job.tenant, status, 1)
  emit(job, 'job.' .. status)
  retire(job)
end

local function is_current(job, n)
  return job.attempt == tostring(n) and not TERMINAL[job.status]
end

-- Money: counted from the moment of sending, taken back only when nothing was created.
local function add_spent(job, images)
  call('HINCRBY', k_job(job.id), 'spent_images', images)
  call('HINCRBY', K_TOTALS, 'spent_images', images)
  count_usage(job.tenant, 'spent_images', images)
end

-- The time since the send is no time of waiting, neither for the deadline nor in the timings.
local function queue_again(job, attempt)
  if job.cancel_requested_ms then
    finish(job, 'canceled')
  else
    call('HINCRBY', k_job(job.id), 'queued_ms', int(NOW - tonumber(attempt.sent_ms)))
    set_status(job, 'queued')
    line_push(job)
    if call('HEXISTS', k_job(job.id), 'expires_ms') == 1 then due_in('x:' .. job.id, 0) end
  end
end

local function add_unstored(images) add_depth('*|unstored', images) end
