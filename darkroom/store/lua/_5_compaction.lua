-- Completed jobs of which only what their owners ask for is left.

local function is_compacted(id) return call('EXISTS', k_compacted(id)) == 1 end

-- Whose a prediction is: the attempt's that has it, or 'compacted:0'; false where it is nobody's.
local function owner_of(prediction)
  local owner = call('GET', k_prediction(prediction))
  if owner then return owner end
  local today = math.floor(NOW / DAY_MS)
  for day = today, today - KEEP_OWNED_DAYS, -1 do
    if call('SISMEMBER', k_owned(int(day)), prediction) == 1 then return 'compacted:0' end
  end
  return false
end

-- A batch goes on, or has ended again: what is left of its completed jobs lives as long as the others.
local function keep_compacted(id, ttl_ms)
  if ttl_ms then call('PEXPIRE', k_compacted(id), ttl_ms) else call('PERSIST', k_compacted(id)) end
end
