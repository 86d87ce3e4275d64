-- Which server answers. A lane admits and sends only on the one whose past is known: after a restart or a failover the
-- last writes may be missing, and what they told of may have been paid.

local function server_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and info:match('run_id:(%x+)') or ''
end

-- Where INFO is forbidden no change can be noticed.
local function is_known_server(lane)
  local id = server_id()
  return id == '' or not lane.server or lane.server == id
end
