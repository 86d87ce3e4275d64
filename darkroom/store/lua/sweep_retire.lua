#!lua flags=allow-oom
-- Let the time of a batch's jobs begin once it is written down, and its own after theirs; or take it away where it goes on.
-- ARGV: 1 batch id, 2 most lines
-- -> 1 the sweep is over | 0 more is to come
local goes_on, ttl_ms = is_batch_open(ARGV[1]), call('HGET', k_batch(ARGV[1]), 'ttl_ms')
local over = sweep_slice(ARGV[1], 'retire', tonumber(ARGV[2]), function(id)
  local job = load_job(id)
  if not job then return keep_compacted(id, not goes_on and ttl_ms) end
  if goes_on then keep(job) else retire(job) end
end)
if over == 1 then retire_batch(ARGV[1]) end
return over
