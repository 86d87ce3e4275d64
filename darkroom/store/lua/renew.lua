#!lua flags=allow-oom
-- Renew many leases in one go.
-- ARGV: 1 lease (ms), then member of the due set, lease number, member, …
-- -> the members that are no longer held under that lease
local lost = {}
for i = 2, #ARGV, 2 do
  local member, lease = ARGV[i], ARGV[i + 1]
  local held
  if member:sub(1, 1) == 'j' then
    local id, n = member:match('^j:(.+):(%d+)$')
    held = call('HGET', k_attempt(id, n), 'lease')
  elseif member:sub(1, 1) == 'm' then
    held = call('HGET', k_batch(member:sub(3)), 'lease')
  else
    held = call('HGET', k_delivery(member:sub(3)), 'lease')
  end
  if held == lease then
    call('ZADD', K_DUE, 'XX', int(NOW + tonumber(ARGV[1])), member)
  else
    lost[#lost + 1] = member
  end
end
return lost
