-- Deliveries and their hosts: so many at once to one host, and none to one that fails but for a probe now and then. Each
-- tenant has its own share and breaker of a host, so that nobody waits for what another tenant's address does.
-- What has to wait for its host leaves the due set and stands in the host's own queue; the host's timer (w:) takes it up
-- again. Addresses that the host has failed since its last answer stand behind all others: one that is well is probed
-- before a thousand that are not.
-- A delivery that may go counts against its host until the attempt is recorded, so it needs no life-time: it is pending
-- all that while and has its entry in the due set.

local HOST_AT_ONCE = 32
local HOST_FAILURES = 5 -- of different deliveries, with no answer between them, open the breaker
local HOST_COOL_MS = 1000
local HOST_COOLEST_MS = 30000
local HOST_KEEP_MS = DAY_MS
local HOST_URLS = 32 -- failing addresses remembered
local IN_FRONT_MS = 1e13
local GONE_KEEP_MS = 7 * DAY_MS
local OVERDUE_MOST = 100

-- The host and port of a delivery's URL as they stand there, and whose it is.
local function host_of(d)
  local authority = d.url:match('^%a+://([^/?#\\]*)') or ''
  return authority:match('([^@]*)$'):lower() .. ' ' .. d.tenant
end

-- Twelve digits that stand for an address.
local function url_mark(url)
  local sum = 0
  for i = 1, #url do sum = (sum * 31 + url:byte(i)) % 1e12 end
  return string.format(' %012.0f', sum)
end

local function is_probing(host, breaker)
  return breaker.probe and call('SISMEMBER', k_flying(host), breaker.probe) == 1
end

-- Whether one more delivery may go; while the breaker is open that is one probe at its time.
local function host_has_room(host)
  local breaker = fields(k_host(host), 'until_ms', 'probe')
  if not breaker.until_ms then return call('SCARD', k_flying(host)) < HOST_AT_ONCE end
  return not is_probing(host, breaker) and NOW >= tonumber(breaker.until_ms)
end

local function fly(host, id)
  call('SADD', k_flying(host), id)
  if call('HEXISTS', k_host(host), 'until_ms') == 1 then call('HSET', k_host(host), 'probe', id) end
end

-- The host's timer goes off when its next probe may go, if anything waits for that. While one is under way there is none:
-- the time of the next is not known before its end, which sets it, and a timer that is due would be due again at once.
local function set_host_timer(host)
  local breaker = fields(k_host(host), 'until_ms', 'probe')
  if not breaker.until_ms or is_probing(host, breaker) or call('ZCARD', k_host_queue(host)) == 0 then return end
  due_in('w:' .. host, math.max(0, tonumber(breaker.until_ms) - NOW))
end

-- The queue's scores are the times of joining it, of addresses not known to fail moved before all others.
local function wait_for_host(host, id, url)
  local failing = (call('HGET', k_host(host), 'failing') or ''):find(url_mark(url), 1, true)
  call('ZREM', K_DUE, 'd:' .. id)
  call('ZADD', k_host_queue(host), int(failing and NOW or NOW - IN_FRONT_MS), id)
  call('SADD', K_HOSTS, host)
  set_host_timer(host)
end

-- Lets go who waits, as far as there is room. -> how many
local function let_go(host)
  local gone = 0
  while host_has_room(host) do
    local id = call('ZPOPMIN', k_host_queue(host))[1]
    if not id then break end
    fly(host, id)
    due_in('d:' .. id, 0)
    gone = gone + 1
  end
  set_host_timer(host)
  return gone
end

-- What failed since the host's last answer: the deliveries, as far as they count, and the addresses.
local function remember_failure(key, id, url)
  local known = fields(key, 'failed', 'failing')
  local failed, failing = known.failed or '', known.failing or ''
  if not failed:find(id, 1, true) then failed = failed .. ' ' .. id end
  local mark = url_mark(url)
  if not failing:find(mark, 1, true) then failing = (failing .. mark):sub(-HOST_URLS * #mark) end
  call('HSETNX', key, 'since_ms', int(NOW))
  local _, failures = failed:gsub(' ', ' ')
  call('HSET', key, 'failed', failed:sub(-HOST_FAILURES * (#id + 1)), 'failing', failing)
  return failures
end

-- An attempt is over: `heard` is 'up' (the host answered), 'failed', or '' (it was not asked).
-- -> 'opened' or 'closed' where that changed the breaker, else ''
local function leave_host(host, id, url, heard)
  local key, change = k_host(host), ''
  local breaker = fields(key, 'until_ms', 'probe', 'cool_ms')
  call('SREM', k_flying(host), id)
  if heard == 'up' then
    if breaker.until_ms then change = 'closed' end
    call('DEL', key)
  elseif heard == 'failed' then
    local failures = remember_failure(key, id, url)
    if breaker.until_ms then
      if breaker.probe == id then
        local cool_ms = math.min(tonumber(breaker.cool_ms) * 2, HOST_COOLEST_MS)
        call('HSET', key, 'cool_ms', int(cool_ms), 'until_ms', int(NOW + cool_ms))
      end
    elseif failures >= HOST_FAILURES then
      change = 'opened'
      call('HSET', key, 'cool_ms', HOST_COOL_MS, 'until_ms', int(NOW + HOST_COOL_MS))
      call('SADD', K_HOSTS, host)
    end
  end
  if call('EXISTS', key) == 1 then call('PEXPIRE', key, HOST_KEEP_MS) end
  return change
end

-- The job (or batch) says what became of the newest of its deliveries.
local function tell_subject(id, subject, status)
  local deliveries = call('HGET', subject_key(subject), 'deliveries')
  if deliveries and deliveries:sub(-#id) == id then call('HSET', subject_key(subject), 'webhook_status', status) end
end

-- Ends a delivery, for the time being or for good. `d`: its fields event, ttl_ms, tenant, job, url.
local function end_delivery(id, d, status)
  local key = k_delivery(id)
  call('HSET', key, 'status', status, 'settled_ms', int(NOW))
  call('HDEL', key, 'next_ms')
  call('ZREM', K_DUE, 'd:' .. id)
  call('HINCRBY', K_TOTALS, 'deliveries_' .. status, 1)
  call('PEXPIRE', key, d.ttl_ms)
  call('PEXPIRE', k_event(d.event), d.ttl_ms)
  tell_subject(id, d.job, status)
  if status == 'delivered' then return end
  local undelivered = k_undelivered(d.tenant)
  call('ZREMRANGEBYSCORE', undelivered, '-inf', int(NOW - tonumber(d.ttl_ms)))
  call('ZADD', undelivered, int(NOW), id)
  if call('PTTL', undelivered) < tonumber(d.ttl_ms) then call('PEXPIRE', undelivered, d.ttl_ms) end
end

-- Ends a delivery without an attempt, and says why in its log.
local function give_up_delivery(id, status, why)
  local key = k_delivery(id)
  local d = fields(key, 'status', 'event', 'ttl_ms', 'tenant', 'job', 'attempts')
  if d.status ~= 'pending' then return end
  local before = (d.attempts or '[]'):sub(1, -2)
  local entry = cjson.encode({ at_ms = NOW, status_code = cjson.null, duration_ms = 0, error = why })
  call('HSET', key, 'attempts', before .. (before == '[' and '' or ',') .. entry .. ']')
  call('HINCRBY', key, 'lease', 1)
  end_delivery(id, d, status)
end

-- Who has waited for a host that has failed every probe for as long as its schedule takes.
-- -> whether there may be more of them
local function exhaust_overdue(host, patience_ms)
  local since = fields(k_host(host), 'until_ms', 'since_ms')
  local joined = NOW - patience_ms
  if not since.until_ms or tonumber(since.since_ms) > joined then return false end
  local queue, ended = k_host_queue(host), 0
  for _, range in ipairs({ { '-inf', int(joined - IN_FRONT_MS) }, { 0, int(joined) } }) do
    for _, id in ipairs(call('ZRANGEBYSCORE', queue, range[1], range[2], 'LIMIT', 0, OVERDUE_MOST - ended)) do
      call('ZREM', queue, id)
      give_up_delivery(id, 'exhausted',
        'not attempted: the host fails every attempt, and the time of the schedule is over')
      ended = ended + 1
    end
  end
  return ended == OVERDUE_MOST
end

-- Whether a delivery that is due may be attempted now. If not, it waits for its host, or its URL wants nothing any more.
local function may_fly(id, d)
  local host = host_of(d)
  local flying = call('SISMEMBER', k_flying(host), id) == 1
  if call('EXISTS', k_gone(d.tenant, d.url)) == 1 then
    give_up_delivery(id, 'gone', 'not attempted: this URL has answered 410 Gone; redelivering to it lifts that')
    if flying then
      call('SREM', k_flying(host), id)
      let_go(host)
    end
    return false
  end
  if flying then return true end
  if host_has_room(host) then
    fly(host, id)
    return true
  end
  wait_for_host(host, id, d.url)
  return false
end
