#!lua flags=allow-oom
-- Put what is left of a completed job in the place of its record, its attempts' and those of its delivered webhooks.
-- ARGV: 1 job id, 2 its last event's number, 3 its webhook's status or '', both as the caller has read them, 4 what is
-- left, packed
-- -> 1 done | 0 it has changed, is gone or compacted, may not vanish yet, or a webhook of it was not delivered
local id = ARGV[1]
local job = load_job(id)
if not job or job.status ~= 'completed' or job.event_seq ~= ARGV[2] then return 0 end
local told_by = fields(k_job(id), 'webhook_status', 'deliveries')
if (told_by.webhook_status or '') ~= ARGV[3] then return 0 end
local left_ms = call('PTTL', k_job(id))
if left_ms <= 0 then return 0 end

local told = {}
for delivery in (told_by.deliveries or ''):gmatch('[^,]+') do
  local known = fields(k_delivery(delivery), 'status', 'event')
  if known.status and known.status ~= 'delivered' then return 0 end
  if known.event then told[#told + 1] = k_event(known.event) end
  told[#told + 1] = k_delivery(delivery)
end
if #told > 0 then call('DEL', unpack(told)) end

local day = int(math.floor(NOW / DAY_MS))
for n = 1, tonumber(job.attempt) do
  local prediction = call('HGET', k_attempt(id, n), 'prediction_id')
  if prediction and call('GET', k_prediction(prediction)) == member_of(id, n) then
    call('SADD', k_owned(day), prediction)
    call('DEL', k_prediction(prediction))
  end
  call('DEL', k_attempt(id, n))
end
if call('PTTL', k_owned(day)) == -1 then call('PEXPIRE', k_owned(day), int(KEEP_OWNED_DAYS * DAY_MS)) end
call('DEL', k_job(id))
call('SET', k_compacted(id), ARGV[4], 'PX', left_ms)
return 1
