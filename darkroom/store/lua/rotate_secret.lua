#!lua flags=allow-oom
-- Make a tenant's new webhook secret. Those that signed until now, the operator's included, end with the overlap unless
-- they end sooner.
-- ARGV: 1 tenant, 2 the new one's id, 3 the secret, 4 overlap (ms, 0: the others end at once), 5 most that may sign at once
-- -> {1, made at (ms)} | {-1} as many sign already and would go on
local tenant, last_ms = ARGV[1], NOW + tonumber(ARGV[4])
local key = k_secrets(tenant)
local secrets, operators_ms = secrets_of(tenant)
for _, known in ipairs(secrets) do
  if known.id == ARGV[2] then return { 1, int(known.created_ms) } end -- the same call again after a lost answer
end
if last_ms > NOW and #secrets >= tonumber(ARGV[5]) then return { -1 } end

local function write(id, secret, created_ms, until_ms)
  call('HSET', key, id, cjson.encode({ secret = secret, created_ms = created_ms, until_ms = until_ms }))
end

call('DEL', key) -- its life-time too, where all that was left was about to end
if last_ms > NOW then
  for _, known in ipairs(secrets) do
    write(known.id, known.secret, known.created_ms, math.min(known.until_ms or last_ms, last_ms))
  end
  if #secrets == 0 then operators_ms = last_ms end
  if operators_ms then call('HSET', key, 'operator_until_ms', int(math.min(operators_ms, last_ms))) end
end
write(ARGV[2], ARGV[3], NOW, cjson.null)
return { 1, int(NOW) }
