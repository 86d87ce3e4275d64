-- A tenant's own webhook secrets. Where it has none, the operator's sign its webhooks; beside its first one they go on
-- until `operator_until_ms`, a field among the secrets.

-- Drops what has ended; with the last one everything goes.
-- -> those that sign, newest first ({id, secret, created_ms, until_ms (nil: for ever)}), and until when the operator's
--    sign beside them (ms; nil: not)
local function secrets_of(tenant)
  local key, found, operators_ms = k_secrets(tenant), {}, nil
  local members = call('HGETALL', key)
  for i = 1, #members, 2 do
    local id, ended = members[i], false
    if id == 'operator_until_ms' then
      operators_ms = tonumber(members[i + 1])
      ended = operators_ms <= NOW
      if ended then operators_ms = nil end
    else
      local known = cjson.decode(members[i + 1])
      local until_ms = type(known.until_ms) == 'number' and known.until_ms or nil
      ended = until_ms and until_ms <= NOW
      if not ended then
        found[#found + 1] = { id = id, secret = known.secret, created_ms = known.created_ms, until_ms = until_ms }
      end
    end
    if ended then call('HDEL', key, id) end
  end
  if #found == 0 then
    if #members > 0 then call('DEL', key) end
    return found, nil
  end
  table.sort(found, function(a, b)
    if a.created_ms ~= b.created_ms then return a.created_ms > b.created_ms end
    return a.id > b.id
  end)
  return found, operators_ms
end
