-- Write jobs of a batch that is being accepted, and their places in flows that have no turn yet.
-- ARGV: 1 batch id, 2 how long its uploader may be silent (ms), then for each job: line, images, priority,
--       request (JSON), expires in (ms, 0: never)
-- -> how many jobs the batch has now | -1 it is not being accepted (any more)
local id = ARGV[1]
local batch = fields(k_batch(id), 'status', 'tenant', 'seq_base', 'ttl_ms', 'last_line', 'heaviest')
if batch.status ~= 'accepting' then return -1 end
hear_uploader(id, tonumber(ARGV[2]))
local now, jobs, images = int(NOW), 0, 0
local last, heaviest = tonumber(batch.last_line), tonumber(batch.heaviest or 0)
for i = 3, #ARGV, 5 do
  local line, cost, priority = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), ARGV[i + 2]
  local job, seq = batch_job(id, line), tonumber(batch.seq_base) + line
  if call('ZADD', k_flow(batch.tenant, id, priority), seq, job) == 1 then
    call('HSET', k_job(job), 'v', SCHEMA, 'tenant', batch.tenant, 'batch', id, 'images', ARGV[i + 1],
      'priority', priority, 'request', ARGV[i + 3], 'seq', int(seq), 'attempt', 1, 'queued_ms', now,
      'ttl_ms', batch.ttl_ms, 'status', 'queued', 'events', '1-1,queued,' .. now .. ';', 'event_seq', 1)
    if ARGV[i + 4] ~= '0' then
      call('HSET', k_job(job), 'expires_ms', ARGV[i + 4], 'paused_base_ms', int(paused_ms()))
    end
    jobs, images = jobs + 1, images + cost
  end
  last, heaviest = math.max(last, line), math.max(heaviest, cost)
end
call('HINCRBY', k_batch(id), 'images', images)
call('HSET', k_batch(id), 'last_line', last, 'heaviest', heaviest)
return call('HINCRBY', k_batch(id), 'total', jobs)
