-- Statuses, the events that tell of them, and the life of a finished job.

local function set_status(job, status)
  local at, seq = int(NOW), tonumber(job.event_seq or 0) + 1
  local events = (job.events or '') .. job.attempt .. '-' .. seq .. ',' .. status .. ',' .. at .. ';'
  while #events > MAX_EVENTS_BYTES do events = events:sub(events:find(';', 1, true) + 1) end
  if job.status and job.status ~= status then call('ZREM', k_index(job.tenant, job.status), job.id) end
  call('ZADD', k_index(job.tenant, status), 0, job.id)
  call('HSET', k_job(job.id), 'status', status, 'events', events, 'event_seq', seq)
  call('PUBLISH', K_CHANNEL, job.id)
  count_in_batch(job, job.status, status)
  job.status, job.events, job.event_seq = status, events, seq
end

local function late_attempts(id)
  local found = {}
  for n in (call('HGET', k_job(id), 'late') or ''):gmatch('%d+') do
    found[#found + 1] = { n, call('HGETALL', k_attempt(id, n)) }
  end
  return found
end

-- What tells of the attempts before the current one, the latest of them.
local function earlier_attempts(job)
  local found, current = {}, tonumber(job.attempt)
  for n = math.max(1, current - MAX_ATTEMPTS_SHOWN + 1), current - 1 do
    local names = { 'state', 'prediction_id', 'sends', 'spent_images', 'submitted_ms', 'stored_ms', 'ended_ms', 'error' }
    local values, record = call('HMGET', k_attempt(job.id, n), unpack(names)), {}
    for i, name in ipairs(names) do
      if values[i] then
        record[#record + 1] = name
        record[#record + 1] = values[i]
      end
    end
    found[#found + 1] = { n, record }
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
    attempt = call('HGETALL', k_attempt(job.id, job.attempt)), late = late_attempts(job.id),
    earlier = earlier_attempts(job) })
end

local function wants(webhook, kind)
  if type(webhook.events) ~= 'table' then return kind ~= 'job.outputs_late' end
  for _, wanted in ipairs(webhook.events) do
    if wanted == kind then return true end
  end
  return false
end

local function default_webhook(tenant)
  local default = call('GET', k_webhook(tenant))
  return default and cjson.decode(default)
end

-- Whom to tell of a job: its own webhook, or else its batch's, or else its tenant's default one. A batch's gets only what
-- tells of the batch, unless it names its jobs' events too.
local function webhook_of(job)
  local own = cjson.decode(call('HGET', k_job(job.id), 'request')).webhook
  if type(own) == 'table' then return own end
  local of_batch = job.batch ~= '-' and call('HGET', k_batch(job.batch), 'webhook')
  if not of_batch then return default_webhook(job.tenant) end
  local webhook = cjson.decode(of_batch)
  if type(webhook.events) ~= 'table' then webhook.events = { 'batch.completed' } end
  return webhook
end

-- What an event tells of: a job, or a batch.
local function subject_key(id) return id:sub(1, 6) == 'batch_' and k_batch(id) or k_job(id) end

-- Writes an event and its delivery beside the status they tell of: at least once begins here.
-- `subject`: its fields id, tenant, ttl_ms.
local function post(subject, kind, url, record)
  local event_id, delivery_id, key = new_id('evt'), new_id('dlv'), subject_key(subject.id)
  call('HSET', k_event(event_id), 'v', SCHEMA, 'type', kind, 'at_ms', int(NOW), 'job', subject.id,
    'tenant', subject.tenant, 'record', record)
  call('HSET', k_delivery(delivery_id), 'v', SCHEMA, 'event', event_id, 'type', kind, 'job', subject.id,
    'tenant', subject.tenant, 'url', url, 'status', 'pending', 'tries', 0, 'lease', 0,
    'next_ms', int(NOW), 'first_ms', int(NOW), 'ttl_ms', subject.ttl_ms)
  local ids = call('HGET', key, 'deliveries')
  ids = ids and (ids .. ',' .. delivery_id) or delivery_id
  local _, count = ids:gsub(',', ',')
  if count >= MAX_DELIVERIES then ids = ids:sub(ids:find(',', 1, true) + 1) end
  call('HSET', key, 'deliveries', ids)
  due_in('d:' .. delivery_id, 0)
end

local function emit(job, kind)
  local webhook = webhook_of(job)
  if not webhook or not wants(webhook, kind) then return end
  call('HSET', k_job(job.id), 'webhook_status', 'pending')
  post(job, kind, webhook.url, snapshot(job))
end

-- A finished job lives its time out once its batch has ended and none of its attempts is live; until then it stays.
local function retire(job)
  if not TERMINAL[job.status] or is_batch_open(job.batch) then return end
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
  close_batch(job.batch)
end

-- Ends a job whose submit stays unsettled. The error stands even where the owner has canceled: a retry might pay twice.
local function is_unsettled(error_json)
  return error_json and error_json ~= '' and cjson.decode(error_json).code == 'submit_unconfirmed'
end

local function is_current(job, n)
  return job.attempt == tostring(n) and not TERMINAL[job.status]
end

-- Pauses since the send fell into no time of waiting either: the deadline must not be put off by them as well.
local function discount_pauses(job, attempt)
  local before = call('HGET', k_attempt(attempt.id, attempt.n), 'sent_paused_ms')
  if before then call('HINCRBY', k_job(job.id), 'paused_base_ms', int(paused_ms() - tonumber(before))) end
end

-- The time since the send is no time of waiting, neither for the deadline nor in the timings.
local function queue_again(job, attempt)
  if job.cancel_requested_ms or is_canceled_with_batch(job) then
    finish(job, 'canceled')
  else
    call('HINCRBY', k_job(job.id), 'queued_ms', int(NOW - tonumber(attempt.sent_ms or NOW)))
    set_status(job, 'queued')
    line_push(job)
    if call('HEXISTS', k_job(job.id), 'expires_ms') == 1 then
      discount_pauses(job, attempt)
      due_in('x:' .. job.id, 0)
    end
  end
end

-- Gives the job another attempt, which is another prediction and costs again, at the end of the line.
local function new_attempt(job)
  job.attempt, job.seq = int(tonumber(job.attempt) + 1), call('INCR', K_SEQ)
  call('HSET', k_job(job.id), 'attempt', job.attempt, 'seq', job.seq, 'queued_ms', int(NOW))
  set_status(job, 'queued')
  line_push(job)
end

-- The attempt goes on with a prediction that exists: it holds its slot for as long as upstream may work on it.
local function generate(attempt, prediction, first_look_ms)
  call('HINCRBY', k_attempt(attempt.id, attempt.n), 'lease', 1)
  call('HSET', k_attempt(attempt.id, attempt.n), 'state', 'generating', 'prediction_id', prediction)
  if attempt.prediction_id ~= prediction then call('HDEL', k_attempt(attempt.id, attempt.n), 'called_ms') end
  call('ZADD', k_slots(attempt.lane), '+inf', member_of(attempt.id, attempt.n))
  due_in(due_of(attempt.id, attempt.n), first_look_ms)
end
