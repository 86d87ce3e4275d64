-- One slice of a sweep: `visit` gets the id of each job's place among the batch's lines, whether it has a job or not.
-- -> 1 the sweep is over | 0 more is to come
local function sweep_slice(batch, sweep, most, visit)
  local key = k_batch(batch)
  local known = fields(key, sweep .. '_line', 'last_line')
  if not known[sweep .. '_line'] then
    call('ZREM', K_DUE, sweep_timer(batch, sweep))
    return 1
  end
  local done, last = tonumber(known[sweep .. '_line']), tonumber(known.last_line)
  local upto = math.min(done + most, last)
  call('HSET', key, sweep .. '_line', int(upto))
  due_in(sweep_timer(batch, sweep), SWEEP_PATIENCE_MS)
  for line = done + 1, upto do visit(batch_job(batch, line)) end
  if upto < last then return 0 end
  stop_sweep(batch, sweep)
  return 1
end
