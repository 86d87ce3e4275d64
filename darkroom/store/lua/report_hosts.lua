#!lua flags=allow-oom
-- List the receivers' hosts that fail or that deliveries wait for; those that are well again are dropped from the list.
-- ARGV: none
-- -> {{host, tenant, failing since (ms, '' it does not), next probe (ms, '' the breaker is closed), probing (1, 0),
--      deliveries under way, deliveries waiting}, …}
local found = {}
for _, host in ipairs(call('SMEMBERS', K_HOSTS)) do
  local breaker, waiting = fields(k_host(host), 'since_ms', 'until_ms', 'probe'), call('ZCARD', k_host_queue(host))
  if breaker.until_ms or waiting > 0 then
    local probing = breaker.probe and call('SISMEMBER', k_flying(host), breaker.probe) or 0
    found[#found + 1] = { host:match('^%S*'), host:match('%s(.*)$'), breaker.since_ms or '', breaker.until_ms or '',
      probing, call('SCARD', k_flying(host)), waiting }
  else
    call('SREM', K_HOSTS, host)
  end
end
return found
