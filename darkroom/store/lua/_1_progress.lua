-- What was called for and has not begun, by stage: a call that stays unanswered while more are made means that nobody
-- consumes that stage's queue. A call that nobody repeats is a job that went away meanwhile, and says nothing.
local CALL_LASTS_MS = { submit = 25000, store = 100000, notify = 100000 } -- longer than calls of waiting work are apart

local function call_for(stage)
  local since, last = stage .. '_called_ms', stage .. '_last_ms'
  local known = fields(K_PROGRESS, since, last)
  if not known[since] or NOW - tonumber(known[last]) > CALL_LASTS_MS[stage] then
    call('HSET', K_PROGRESS, since, int(NOW))
  end
  call('HSET', K_PROGRESS, last, int(NOW))
end

local function begun(stage) call('HDEL', K_PROGRESS, stage .. '_called_ms', stage .. '_last_ms') end

-- Dispatch is called for as long as jobs wait: from the first one's arrival, and anew by each run.
local function call_for_dispatch() call('HSET', K_PROGRESS, 'dispatch_called_ms', int(NOW)) end
