#!lua flags=allow-oom
-- Take an attempt's outputs to store; whoever held them before is stale from now on.
-- ARGV: 1 job id, 2 attempt, 3 lease known from the message, 4 lease (ms)
-- -> {1, new lease, now (ms), job record, attempt record} | {-1} stale
local id, n = ARGV[1], ARGV[2]
local attempt = load_attempt(id, n)
if attempt.state ~= 'storing' or attempt.lease ~= ARGV[3] then return { -1 } end
begun('store', attempt.message_ms)
local lease = call('HINCRBY', k_attempt(id, n), 'lease', 1)
call('HDEL', k_attempt(id, n), 'message_ms')
due_in(due_of(id, n), tonumber(ARGV[4]))
return { 1, int(lease), int(NOW), call('HGETALL', k_job(id)), call('HGETALL', k_attempt(id, n)) }
