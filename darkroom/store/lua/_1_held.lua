-- Who is held by its budget: out of the rotation until its timer (h: tenants, b: batches) puts it back.

local function is_held(tenant) return call('HEXISTS', K_HELD, tenant) == 1 end
local function is_batch_held(batch) return batch ~= '-' and call('HEXISTS', K_HELD_BATCHES, batch) == 1 end

-- Something has changed that may let a held one go on: its timer goes off now.
local function reconsider(tenant, batch)
  if is_held(tenant) then due_in('h:' .. tenant, 0) end
  if is_batch_held(batch) then due_in('b:' .. batch, 0) end
end
