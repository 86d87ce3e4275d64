#!lua flags=allow-oom
-- Put many looks off in one go and count them.
-- ARGV: id, attempt, lease, looks made, delay (ms), whether upstream did not know it ('1', '0', '' unchanged), id, …
--       (at most 600 of them)
-- -> how many were still generating under that lease
local done = 0
for i = 1, #ARGV, 6 do
  local attempt = load_attempt(ARGV[i], ARGV[i + 1])
  if attempt.state == 'generating' and attempt.lease == ARGV[i + 2] then
    local key = k_attempt(ARGV[i], ARGV[i + 1])
    call('HSET', key, 'polls', ARGV[i + 3])
    if ARGV[i + 5] == '1' then
      call('HSETNX', key, 'missing_ms', int(NOW))
    elseif ARGV[i + 5] == '0' then
      call('HDEL', key, 'missing_ms')
    end
    due_in(due_of(ARGV[i], ARGV[i + 1]), tonumber(ARGV[i + 4]))
    done = done + 1
  end
end
return done
