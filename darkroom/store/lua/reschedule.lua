#!lua flags=allow-oom
-- Put many looks off in one go and count them.
-- ARGV: id, attempt, lease, looks made, delay (ms), id, … (at most 500 of them)
-- -> how many were still generating under that lease
local done = 0
for i = 1, #ARGV, 5 do
  local attempt = load_attempt(ARGV[i], ARGV[i + 1])
  if attempt.state == 'generating' and attempt.lease == ARGV[i + 2] then
    call('HSET', k_attempt(ARGV[i], ARGV[i + 1]), 'polls', ARGV[i + 3])
    due_in(due_of(ARGV[i], ARGV[i + 1]), tonumber(ARGV[i + 4]))
    done = done + 1
  end
end
return done
