-- Begin a batch: nobody sees its jobs before it is linked. One whose uploader dies is dropped when its time is over.
-- ARGV: 1 batch id, 2 tenant, 3 idempotency key's hash ('' none), 4 life of the key (ms), 5 how long an uploader may be
--       silent (ms), 6 life of the finished batch (ms), 7 webhook (JSON, '' none), 8 metadata (JSON),
--       9 most jobs the tenant may have waiting, 10 most uploads it may have under way
-- -> {1} begun | {2, batch id, fingerprint of its body} accepted under this key before | {3} its upload is under way
--    | {-1} the key made a job | {-2} tenant's line is full | {-3} too many of its uploads are under way
-- batch from nothing to accepting
local id, tenant = ARGV[1], ARGV[2]
if call('EXISTS', k_batch(id)) == 1 then return { 1 } end
local idem = ARGV[3] ~= '' and k_idempotency(tenant, ARGV[3])
if idem then
  local known = fields(idem, 'job', 'batch', 'body')
  if known.job then return { -1 } end
  if known.body then return { 2, known.batch, known.body } end
  local before = known.batch and fields(k_batch(known.batch), 'status', 'silent_ms')
  if before and before.status == 'accepting' then
    if tonumber(before.silent_ms) > NOW then return { 3 } end
    drop_batch(known.batch)
  end
end
if waiting_of(tenant) >= tonumber(ARGV[9]) then return { -2 } end
if uploads_of(tenant) >= tonumber(ARGV[10]) then return { -3 } end
local lines = 2 ^ 20
call('HSET', k_batch(id), 'v', SCHEMA, 'tenant', tenant, 'status', 'accepting', 'ttl_ms', ARGV[6], 'metadata', ARGV[8],
  'seq_base', int(call('INCRBY', K_SEQ, int(lines)) - lines), 'total', 0, 'images', 0, 'last_line', 0)
if ARGV[7] ~= '' then call('HSET', k_batch(id), 'webhook', ARGV[7]) end
if idem then
  call('HSET', k_batch(id), 'idem', ARGV[3])
  call('DEL', idem)
  call('HSET', idem, 'batch', id)
  call('PEXPIRE', idem, ARGV[4])
end
hear_uploader(id, tonumber(ARGV[5]))
return { 1 }
