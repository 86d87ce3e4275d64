-- What scripts share (linking.py puts before each what it uses of it). KEYS[1] is the root of all keys, e.g. "{darkroom}:".
-- Keys are built here and in keys.py and nowhere else; a test holds the two against each other.
-- An attempt is live while upstream may still be working on it or its outputs are not stored.
local ROOT = KEYS[1]
local call = redis.call
local SCHEMA = 1 -- of every record that scripts write; the same as records.SCHEMA_VERSION

local function k_job(id) return ROOT .. 'job:' .. id end
local function k_attempt(id, n) return ROOT .. 'attempt:' .. id .. ':' .. n end
local function k_compacted(id) return ROOT .. 'done:' .. id end
local function k_index(tenant, status) return ROOT .. 'index:' .. tenant .. ':' .. status end
local function k_flow(tenant, batch, priority) return ROOT .. 'flow:' .. tenant .. ':' .. priority .. ':' .. batch end
local function k_flows(tenant, priority) return ROOT .. 'flows:' .. tenant .. ':' .. priority end
local function k_left_flows(tenant, priority) return ROOT .. 'left:' .. tenant .. ':' .. priority end
local function k_lane(name) return ROOT .. 'lane:' .. name end
local function k_slots(name) return ROOT .. 'lane:' .. name .. ':slots' end
local function k_sends(name) return ROOT .. 'lane:' .. name .. ':sends' end
local function k_unsent(name) return ROOT .. 'lane:' .. name .. ':unsent' end
local function k_open_sends(name) return ROOT .. 'lane:' .. name .. ':open' end
local function k_sweep(name) return ROOT .. 'lane:' .. name .. ':sweep' end
local function k_prediction(id) return ROOT .. 'prediction:' .. id end
local function k_owned(day) return ROOT .. 'owned:' .. day end
local function k_event(id) return ROOT .. 'event:' .. id end
local function k_delivery(id) return ROOT .. 'delivery:' .. id end
local function k_host(host) return ROOT .. 'host:' .. host end
local function k_flying(host) return ROOT .. 'host:' .. host .. ':flying' end
local function k_host_queue(host) return ROOT .. 'host:' .. host .. ':queue' end
local function k_gone(tenant, url) return ROOT .. 'gone:' .. tenant .. ':' .. url end
local function k_undelivered(tenant) return ROOT .. 'undelivered:' .. tenant end
local function k_secrets(tenant) return ROOT .. 'secrets:' .. tenant end
local function k_webhook(tenant) return ROOT .. 'webhook:' .. tenant end
local function k_batch(id) return ROOT .. 'batch:' .. id end
local function k_batches(tenant) return ROOT .. 'batches:' .. tenant end
local function k_uploads(tenant) return ROOT .. 'uploads:' .. tenant end
local function k_idempotency(tenant, hash) return ROOT .. 'idem:' .. tenant .. ':' .. hash end
local function k_usage(tenant, day) return ROOT .. 'usage:' .. tenant .. ':' .. day end
local K_DUE = ROOT .. 'due'
local K_TURNS = ROOT .. 'turns'
local K_LEFT = ROOT .. 'left'
local K_DEPTH = ROOT .. 'depth'
local K_CLOCK = ROOT .. 'clock'
local K_SEQ = ROOT .. 'seq'
local K_WAKE = ROOT .. 'wake'
local K_LANES = ROOT .. 'lanes'
local K_TENANTS = ROOT .. 'tenants'
local K_TOTALS = ROOT .. 'totals'
local K_WORKERS = ROOT .. 'workers'
local K_PROGRESS = ROOT .. 'progress'
local K_CAPS = ROOT .. 'caps'
local K_DURATIONS = ROOT .. 'durations'
local K_HELD = ROOT .. 'held'
local K_HELD_BATCHES = ROOT .. 'held_batches'
local K_HOSTS = ROOT .. 'hosts'
local K_CHANNEL = ROOT .. 'changes'

local PRIORITIES = { 'high', 'normal', 'low' }
local TERMINAL = { completed = true, failed = true, canceled = true, expired = true }
local LIVE = { admitted = true, submitting = true, unconfirmed = true, generating = true, storing = true }
local DAY_MS = 86400 * 1000
local KEEP_PREDICTION_MS = 8 * 86400 * 1000 -- a day longer than upstream keeps it
local KEEP_OWNED_DAYS = 9
local KEEP_USAGE_MS = 400 * 86400 * 1000
local RATE_WINDOW_MS = 60000
local SLOT_LAPSE_MS = 30 * 60000
local MAX_ATTEMPTS_SHOWN = 20
local MAX_EVENTS_BYTES = 2000
local MAX_DELIVERIES = 32
local TRIM_MOST = 500
local TRIM_PAUSE_MS = 100
local TRIM_EVERY_MS = 10 * 60000
local TRIM_FIRST = 'completed'
local TRIM_NEXT = { completed = 'failed', failed = 'canceled', canceled = 'expired', expired = TRIM_FIRST }

local function int(number) return string.format('%.0f', number) end
local clock = call('TIME')
local NOW = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function fields(key, ...)
  local names, values, record = { ... }, call('HMGET', key, ...), {}
  for i, name in ipairs(names) do record[name] = values[i] or nil end
  return record
end

local function load_job(id)
  local job = fields(k_job(id), 'tenant', 'status', 'attempt', 'images', 'priority', 'batch', 'seq', 'events',
    'event_seq', 'cancel_requested_ms', 'ttl_ms')
  if not job.status then return nil end
  job.id, job.images, job.batch = id, tonumber(job.images), job.batch or '-'
  return job
end

local function load_attempt(id, n)
  local attempt = fields(k_attempt(id, n), 'state', 'lease', 'lane', 'sends', 'prediction_id', 'send_ref', 'sent_ms',
    'failed_in', 'charged_day', 'spent_day', 'refund_day', 'adopted', 'ask', 'message_ms', 'callback', 'called_ms')
  attempt.id, attempt.n = id, n
  return attempt
end

local function member_of(id, n) return id .. ':' .. n end
local function due_of(id, n) return 'j:' .. id .. ':' .. n end
local function due_in(member, delay_ms) call('ZADD', K_DUE, int(NOW + delay_ms), member) end

-- ids that sort by time, of the same form as ids.py makes: 48 bits of milliseconds, then a number never given twice
local CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
local function base32(number, length)
  local text = {}
  for i = length, 1, -1 do
    local digit = number % 32
    text[i] = CROCKFORD:sub(digit + 1, digit + 1)
    number = (number - digit) / 32
  end
  return table.concat(text)
end
local function new_id(prefix)
  return prefix .. '_' .. base32(NOW, 10) .. base32(call('INCR', ROOT .. 'ids'), 16)
end
