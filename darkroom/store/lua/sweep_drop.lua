#!lua flags=allow-oom
-- Remove what was staged of a batch that is not accepted.
-- ARGV: 1 batch id, 2 most lines
-- -> 1 the sweep is over, or it was accepted, or its uploader lives | 0 more is to come
local id = ARGV[1]
local batch = fields(k_batch(id), 'status', 'tenant', 'silent_ms')
if batch.status == 'accepting' then
  if tonumber(batch.silent_ms) > NOW then
    due_in(sweep_timer(id, 'drop'), tonumber(batch.silent_ms) - NOW)
    return 1
  end
  drop_batch(id) -- its uploader is gone
elseif batch.status and batch.status ~= 'dropped' then
  call('ZREM', K_DUE, sweep_timer(id, 'drop'))
  return 1
end
local over = sweep_slice(id, 'drop', tonumber(ARGV[2]), function(job) call('DEL', k_job(job)) end)
if over == 1 and batch.status then
  for _, priority in ipairs(PRIORITIES) do call('UNLINK', k_flow(batch.tenant, id, priority)) end
  call('DEL', k_batch(id))
end
return over
