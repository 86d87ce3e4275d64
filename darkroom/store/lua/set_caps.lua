#!lua flags=allow-oom
-- Make the budgets known. Who is held is looked at again, for it may have room now.
-- ARGV: name, most images, name, … of all caps: a tenant, '*' (every other tenant), ':batch' (a batch without its own)
-- -> 1 changed | 0 it was so already
local before, same = call('HGETALL', K_CAPS), true
local known = {}
for i = 1, #before, 2 do known[before[i]] = before[i + 1] end
for i = 1, #ARGV, 2 do same = same and known[ARGV[i]] == ARGV[i + 1] end
if same and #before == #ARGV then return 0 end
call('DEL', K_CAPS)
for i = 1, #ARGV, 2 do call('HSET', K_CAPS, ARGV[i], ARGV[i + 1]) end
for _, tenant in ipairs(call('HKEYS', K_HELD)) do due_in('h:' .. tenant, 0) end
for _, batch in ipairs(call('HKEYS', K_HELD_BATCHES)) do due_in('b:' .. batch, 0) end
return 1
