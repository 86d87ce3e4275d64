#!lua flags=allow-oom
-- Note that a worker lives, and with it until when each lane's server kept what was written; drop those that have been
-- silent for so long that they are gone for good.
-- ARGV: 1 worker, 2 its sign (JSON with alive_at_ms), 3 silence after which a worker is dropped (ms)
-- -> how many were dropped
call('HSET', K_WORKERS, ARGV[1], ARGV[2])
for _, name in ipairs(call('SMEMBERS', K_LANES)) do
  local lane = fields(k_lane(name), 'server')
  if lane.server and is_known_server(lane) then call('HSET', k_lane(name), 'server_seen_ms', int(NOW)) end
end
local signs, gone = call('HGETALL', K_WORKERS), 0
for i = 1, #signs, 2 do
  if NOW - cjson.decode(signs[i + 1]).alive_at_ms > tonumber(ARGV[3]) then
    gone = gone + call('HDEL', K_WORKERS, signs[i])
  end
end
return gone
