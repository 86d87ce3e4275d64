#!lua flags=allow-oom
-- List a tenant's webhook secrets, newest first, without telling them; what has ended is dropped.
-- ARGV: 1 tenant
-- -> {until when the operator's sign too (ms, '' not, or always where there is no other),
--     {id, its last four characters, made at (ms), ends at (ms, '' it does not)}, …}
local secrets, operators_ms = secrets_of(ARGV[1])
local shown = { operators_ms and int(operators_ms) or '' }
for _, known in ipairs(secrets) do
  shown[#shown + 1] = { known.id, known.secret:sub(-4), int(known.created_ms), known.until_ms and int(known.until_ms) or '' }
end
return shown
