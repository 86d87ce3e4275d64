-- What was bought twice for an attempt serves it where its latest send comes to nothing: it is paid, so nothing else is
-- bought. -> whether there was such a prediction; the attempt goes on with it then
local function use_duplicate(job, attempt)
  local key = k_attempt(attempt.id, attempt.n)
  local known = fields(key, 'duplicates', 'duplicate_day')
  if not known.duplicates then return false end
  local prediction, others = known.duplicates:match('^([^,]+),?(.*)$')
  take_back(job, attempt)
  call('HSET', key, 'duplicates', others, 'spent_day', known.duplicate_day, 'charged_day', known.duplicate_day,
    'submitted_ms', attempt.sent_ms, 'accepted_ms', int(NOW))
  if others == '' then call('HDEL', key, 'duplicates') end
  generate(attempt, prediction, 0)
  if is_current(job, attempt.n) then
    set_status(job, 'generating')
    if job.cancel_requested_ms then finish(job, 'canceled') end
  end
  return true
end
