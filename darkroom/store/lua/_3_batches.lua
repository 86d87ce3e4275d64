-- Batches: their jobs' ids, how many of them are in which status, and what cancels, ends and reopens a batch.
-- A batch's jobs carry its id but for the last four characters, which are the line: they are found without a list.
-- What concerns every job of a batch is done in slices by a sweep, whose timer (s:<batch>:<sweep>) goes on with it where
-- whoever began has stopped.

local SWEEP_PATIENCE_MS = 3000
local BATCH_OUTLIVES_MS = 3600000 -- its record goes after those of its jobs

local function batch_job(batch, line) return 'job_' .. batch:sub(7, 28) .. base32(line, 4) end
local function sweep_timer(batch, sweep) return 's:' .. batch .. ':' .. sweep end

local function start_sweep(batch, sweep, delay_ms)
  call('HSET', k_batch(batch), sweep .. '_line', 0)
  due_in(sweep_timer(batch, sweep), delay_ms)
end

local function stop_sweep(batch, sweep)
  call('HDEL', k_batch(batch), sweep .. '_line')
  call('ZREM', K_DUE, sweep_timer(batch, sweep))
end

-- What was in the line when its batch was canceled; a retry gives a job another place.
local function is_canceled_with_batch(job)
  if job.batch == '-' then return false end
  local upto = call('HGET', k_batch(job.batch), 'canceled_seq')
  return upto and tonumber(job.seq) <= tonumber(upto)
end

-- Every job of a batch has ended, and then one goes on. Whoever writes down what had become of it is stale.
local function reopen_batch(batch)
  call('HSET', k_batch(batch), 'status', 'running')
  call('HINCRBY', k_batch(batch), 'lease', 1)
  call('HDEL', k_batch(batch), 'finished_ms', 'canceled_ms', 'manifest')
  call('PERSIST', k_batch(batch))
  call('ZREM', K_DUE, 'm:' .. batch)
  start_sweep(batch, 'retire', 0)
end

local function count_in_batch(job, before, after)
  if job.batch == '-' or not before then return end
  local key = k_batch(job.batch)
  if call('EXISTS', key) == 0 then return end
  call('HINCRBY', key, 'n:' .. before, -1)
  call('HINCRBY', key, 'n:' .. after, 1)
  local change = (TERMINAL[before] and 1 or 0) - (TERMINAL[after] and 1 or 0)
  if change ~= 0 and call('HINCRBY', key, 'open', change) == 1 and change == 1 then reopen_batch(job.batch) end
end

-- Counts something of a batch beside its jobs: `delivered_images`, `spent_images`, `charged_images`.
local function count_of_batch(job, name, amount)
  if job.batch ~= '-' and call('EXISTS', k_batch(job.batch)) == 1 then
    call('HINCRBY', k_batch(job.batch), name, amount)
  end
end

-- Whether what became of its jobs is not written down yet; till then none of them may go.
local function is_batch_open(batch)
  if batch == '-' then return false end
  local known = fields(k_batch(batch), 'status', 'manifest')
  return known.status and not known.manifest
end

-- The last of its jobs has ended, and no retry is about to let others go on: what became of them is to be written down;
-- then it is told, and their time begins.
local function close_batch(batch)
  if batch == '-' then return end
  local known = fields(k_batch(batch), 'status', 'open', 'canceled_ms', 'n:canceled', 'retry_line')
  if known.status ~= 'running' or tonumber(known.open) > 0 or known.retry_line then return end
  local canceled = known.canceled_ms and tonumber(known['n:canceled'] or 0) > 0
  call('HSET', k_batch(batch), 'status', canceled and 'canceled' or 'completed', 'finished_ms', int(NOW))
  call('HINCRBY', K_TOTALS, canceled and 'batches_canceled' or 'batches_completed', 1)
  due_in('m:' .. batch, 0)
end

-- Takes a batch out of the rotation, with everything that waits of it.
local function leave_rotation(tenant, batch)
  local others = false
  for _, priority in ipairs(PRIORITIES) do
    leave(k_flows(tenant, priority), k_left_flows(tenant, priority), batch)
    others = others or call('EXISTS', k_flows(tenant, priority)) == 1
  end
  if not others then leave(K_TURNS, K_LEFT, tenant) end
end

-- An ended batch's own time begins once its jobs' has, and what became of it is written down.
local function retire_batch(batch)
  local known = fields(k_batch(batch), 'manifest', 'ttl_ms', 'retire_line')
  if not known.manifest or known.retire_line then return end
  call('PEXPIRE', k_batch(batch), int(tonumber(known.ttl_ms) + BATCH_OUTLIVES_MS))
end
