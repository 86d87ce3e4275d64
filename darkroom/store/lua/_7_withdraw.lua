-- Taking a job that nothing was sent for out of the line.

-- Its attempt was admitted and is not sent: what that reserved and charged is given back.
local function give_up_admission(job, attempt)
  free_slot(attempt)
  give_back_send(attempt)
  give_back_charge(job, attempt)
  refund_turn(job)
  call('ZREM', K_DUE, due_of(attempt.id, attempt.n))
  call('HSET', k_attempt(attempt.id, attempt.n), 'state', 'queued')
end

local function withdraw(job, attempt)
  if attempt.state ~= 'admitted' then return line_remove(job) end
  give_up_admission(job, attempt)
  call('HINCRBY', k_attempt(attempt.id, attempt.n), 'lease', 1)
end
