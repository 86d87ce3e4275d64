-- Accept a batch, all of it at once: its flows get their turns. Its jobs are listed, and their deadlines set, by a sweep.
-- ARGV: 1 batch id, 2 body's fingerprint, 3 life of the idempotency key (ms), 4 most jobs the tenant may have waiting,
--       5 '1' to refuse what the budgets have no room for, waiting jobs included, 6 what was passed over (JSON, '' nothing)
-- -> {1, wake} accepted, by this call or before | {-1} it is not being accepted (any more) | {-2} tenant's line is full
--    | {-3, cap} a job of it costs more than a whole day's budget | {-4, until it resets (ms)} today's budget has no room
--    | {-5, cap} it costs more than the budget of a batch
-- batch from accepting to running
local id = ARGV[1]
local batch = fields(k_batch(id), 'status', 'tenant', 'total', 'images', 'heaviest', 'idem', 'linked_ms')
if batch.linked_ms then return { 1, wake() } end
if batch.status ~= 'accepting' or tonumber(batch.total) == 0 then return { -1 } end
local tenant, total, images = batch.tenant, tonumber(batch.total), tonumber(batch.images)
if waiting_of(tenant) + total > tonumber(ARGV[4]) then return { -2 } end
local cap, batch_cap = cap_of(tenant), tonumber(call('HGET', K_CAPS, ':batch') or nil)
if cap and tonumber(batch.heaviest) > cap then return { -3, cap } end
if batch_cap and tonumber(batch.heaviest) > batch_cap then return { -5, batch_cap } end
if ARGV[5] == '1' then
  if batch_cap and images > batch_cap then return { -5, batch_cap } end
  if cap and images > cap then return { -3, cap } end
  local ahead = charged_today(tenant) + tonumber(call('HGET', K_DEPTH, tenant .. '|images') or 0)
  if cap and ahead + images > cap then return { -4, cap_resets_in_ms() } end
end

call('HSET', k_batch(id), 'status', 'running', 'linked_ms', int(NOW), 'n:queued', int(total), 'open', int(total))
call('HDEL', k_batch(id), 'silent_ms', 'seq_base', 'heaviest')
if ARGV[6] ~= '' then call('HSET', k_batch(id), 'skipped', ARGV[6]) end
if batch.idem then
  local idem = k_idempotency(tenant, batch.idem)
  call('HSET', idem, 'batch', id, 'body', ARGV[2])
  call('PEXPIRE', idem, ARGV[3])
end
call('ZREM', K_DUE, sweep_timer(id, 'drop'))
call('ZREM', k_uploads(tenant), id)
start_sweep(id, 'list', SWEEP_PATIENCE_MS)
call('ZADD', k_batches(tenant), 0, id)
for _, old in ipairs(call('ZRANGE', k_batches(tenant), 0, 1)) do
  if call('EXISTS', k_batch(old)) == 0 then call('ZREM', k_batches(tenant), old) end
end

for _, priority in ipairs(PRIORITIES) do
  local jobs = call('ZCARD', k_flow(tenant, id, priority))
  if jobs > 0 then
    enter(k_flows(tenant, priority), k_left_flows(tenant, priority), id)
    add_depth(tenant .. '|' .. priority, jobs)
  end
end
if is_held(tenant) then reconsider(tenant, id) else enter(K_TURNS, K_LEFT, tenant) end
add_depth(tenant .. '|images', images)
add_depth('*|jobs', total)
add_depth('*|images', images)
if call('SADD', K_TENANTS, tenant) == 1 then due_in('t:' .. tenant .. ':' .. TRIM_FIRST .. ':', TRIM_EVERY_MS) end
call('HINCRBY', K_TOTALS, 'batches_accepted', 1)
count_usage(tenant, 'jobs', total)
count_usage(tenant, 'images_requested', images)
return { 1, wake() }
