#!lua flags=allow-oom
-- Count a send that upstream refused although nothing seems wrong with the account: for a reason of the job's own, or
-- because it takes no job at all. Three different jobs without an accepted send between them speak against upstream:
-- then only the first refusal after each opening or trial counts against its job.
-- ARGV: 1 lane, 2 job id, 3 attempt, 4 send number
-- -> {how many sends of this attempt were counted (0: none, or this is not its send), 1 if the lane is to be paused
--    now}; the same send counts once
local key, id = k_lane(ARGV[1]), ARGV[2]
local key_of_attempt = k_attempt(id, ARGV[3])
local attempt = fields(key_of_attempt, 'state', 'sends', 'own_refusals', 'own_refused_send')
if attempt.state ~= 'submitting' or attempt.sends ~= ARGV[4] then return { 0, 0 } end
local lane = fields(key, 'state', 'suspects')
local suspects = lane.suspects or ''
local _, count = suspects:gsub(' ', ' ')
if count < 3 and not suspects:find(id, 1, true) then
  call('HSET', key, 'suspects', suspects .. ' ' .. id)
  count = count + 1
end
local refusals = tonumber(attempt.own_refusals or 0)
if attempt.own_refused_send ~= ARGV[4] and (count < 3 or call('HSETNX', key, 'blamed', id) == 1) then
  refusals = refusals + 1
  call('HSET', key_of_attempt, 'own_refusals', refusals, 'own_refused_send', ARGV[4])
end
return { refusals, (count >= 3 and lane.state ~= 'paused') and 1 or 0 }
