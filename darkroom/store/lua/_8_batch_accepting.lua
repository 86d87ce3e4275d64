-- Accepting a batch: what is staged of it, and dropping that again.

local function waiting_of(tenant)
  local waiting = 0
  for _, priority in ipairs(PRIORITIES) do
    waiting = waiting + tonumber(call('HGET', K_DEPTH, tenant .. '|' .. priority) or 0)
  end
  return waiting
end

-- How many uploads of a tenant are alive.
local function uploads_of(tenant)
  call('ZREMRANGEBYSCORE', k_uploads(tenant), '-inf', int(NOW))
  return call('ZCARD', k_uploads(tenant))
end

-- The uploader lives: the batch is dropped where that is not said again in time.
local function hear_uploader(batch, silence_ms)
  local uploads = k_uploads(call('HGET', k_batch(batch), 'tenant'))
  call('HSET', k_batch(batch), 'silent_ms', int(NOW + silence_ms))
  call('ZADD', uploads, int(NOW + silence_ms), batch)
  call('PEXPIRE', uploads, int(silence_ms))
  due_in(sweep_timer(batch, 'drop'), 2 * silence_ms)
end

-- Nothing of it will be accepted; its idempotency key is free again. What is staged goes in slices.
local function drop_batch(batch)
  local known = fields(k_batch(batch), 'status', 'tenant', 'idem')
  if known.status ~= 'accepting' then return false end
  call('HSET', k_batch(batch), 'status', 'dropped')
  call('ZREM', k_uploads(known.tenant), batch)
  if known.idem then
    local idem = k_idempotency(known.tenant, known.idem)
    if call('HGET', idem, 'batch') == batch then call('DEL', idem) end
  end
  start_sweep(batch, 'drop', 0)
  return true
end
