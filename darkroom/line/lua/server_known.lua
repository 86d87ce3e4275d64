#!lua flags=allow-oom
-- Ask whether a lane may go on with the server that answers now, or say that its past was looked into.
-- ARGV: 1 lane, 2 the server whose past is known from now on ('' only ask)
-- -> {1} it may | {0, server now, last sign from the one before (ms), change noticed (ms), now (ms)}
local key = k_lane(ARGV[1])
local lane, id = fields(key, 'server', 'server_seen_ms'), server_id()
if ARGV[2] ~= '' and ARGV[2] == id then
  call('HSET', key, 'server', id, 'server_seen_ms', int(NOW))
  call('HDEL', key, 'server_noticed', 'server_noticed_ms')
  due_in('l:' .. ARGV[1], 0)
  return { 1 }
end
if is_known_server(lane) then return { 1 } end
-- One that replaces a server before its past was known is noticed anew: what that one's senders wrote is not over.
if call('HGET', key, 'server_noticed') ~= id then
  call('HSET', key, 'server_noticed', id, 'server_noticed_ms', int(NOW))
end
return { 0, id, lane.server_seen_ms or int(NOW), call('HGET', key, 'server_noticed_ms'), int(NOW) }
