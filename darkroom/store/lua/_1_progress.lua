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

-- `of_ms`: when the message was sent that told of it (store and notify).
local function begun(stage, of_ms)
  call('HDEL', K_PROGRESS, stage .. '_called_ms', stage .. '_last_ms')
  if of_ms then call('HSET', K_PROGRESS, stage .. '_began_ms', int(NOW), stage .. '_began_of_ms', of_ms) end
end

-- Whether to send a message again that nobody has begun. It waits its turn as long as what was called for before it is
-- still being begun; queues keep their order, so if something later has begun, or nothing has for a while (a busy stage
-- begins many meanwhile), it is taken for lost: what the only worker had received is gone with it.
local function is_message_lost(stage, sent_ms, wait_ms, check_ms)
  if NOW - sent_ms >= wait_ms then return true end
  local last = fields(K_PROGRESS, stage .. '_began_ms', stage .. '_began_of_ms')
  local busy = last[stage .. '_began_ms'] and NOW - tonumber(last[stage .. '_began_ms']) < check_ms / 4
  return not (busy and tonumber(last[stage .. '_began_of_ms']) <= sent_ms)
end

-- Dispatch is called for as long as jobs wait: from the first one's arrival, and anew by each run.
local function call_for_dispatch() call('HSET', K_PROGRESS, 'dispatch_called_ms', int(NOW)) end
