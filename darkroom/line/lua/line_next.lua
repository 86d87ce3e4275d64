#!lua flags=no-writes
-- Say whose turn it is.
-- ARGV: none
-- -> {job id, images} | {} nobody waits
local id = line_head()
if not id then return {} end
return { id, call('HGET', k_job(id), 'images') }
