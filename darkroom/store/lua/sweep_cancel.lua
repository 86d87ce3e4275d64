#!lua flags=allow-oom
-- End the jobs of a canceled batch that wait, or that nothing was sent for yet.
-- ARGV: 1 batch id, 2 most lines
-- -> 1 the sweep is over | 0 more is to come
-- jobs from queued to canceled
return sweep_slice(ARGV[1], 'cancel', tonumber(ARGV[2]), function(id)
  local job = load_job(id)
  if job and job.status == 'queued' and is_canceled_with_batch(job) then
    withdraw(job, load_attempt(id, job.attempt))
    finish(job, 'canceled')
  end
end)
