-- Let the failed jobs of a batch go on that are worth it, or that the caller names by their code; counts what it did.
-- ARGV: 1 batch id, 2 most lines
-- -> 1 the sweep is over | 0 more is to come
-- jobs from failed (where named, canceled or expired) to queued, unconfirmed, generating or storing
local key = k_batch(ARGV[1])
local named = {}
for code in (call('HGET', key, 'retry_include') or ''):gmatch('[^,]+') do named[code] = true end

local function skip(code) call('HINCRBY', key, 'retry_skip:' .. code, 1) end

local over = sweep_slice(ARGV[1], 'retry', tonumber(ARGV[2]), function(id)
  local job = load_job(id)
  if not job or not TERMINAL[job.status] or job.status == 'completed' then return end
  local code, worth = job.status, false
  if job.status == 'failed' then
    local told = cjson.decode(call('HGET', k_job(id), 'error') or '{}')
    code = told.code or 'failed'
    worth = told.retryable == true and code ~= 'submit_unconfirmed'
  elseif not named[code] then
    return
  end
  if not worth and not named[code] then return skip(code) end
  local how = go_on(job, false, named.submit_unconfirmed)
  if how == 'unsettled' then return skip('submit_unconfirmed') end
  call('HINCRBY', key, how == 'new' and 'retry_new' or 'retry_resumed', 1)
  if how ~= 'resumed' then call('HINCRBY', key, 'retry_images', job.images) end
end)
if over == 1 then close_batch(ARGV[1]) end
return over
