#!lua flags=allow-oom
-- Let one of a tenant's webhook secrets sign nothing from now on. After the last one the operator's sign again.
-- ARGV: 1 tenant, 2 the secret's id
-- -> 1 done | 0 there is no such one (any more)
local key, ends_ms, found = k_secrets(ARGV[1]), 0, false
local secrets = secrets_of(ARGV[1])
for _, known in ipairs(secrets) do
  if known.id == ARGV[2] then
    found = true
  else
    ends_ms = math.max(ends_ms, known.until_ms or math.huge)
  end
end
if not found then return 0 end
call('HDEL', key, ARGV[2])
if #secrets == 1 then
  call('DEL', key)
elseif ends_ms < math.huge then
  call('PEXPIRE', key, int(ends_ms - NOW)) -- all that are left were replaced and end
end
return 1
