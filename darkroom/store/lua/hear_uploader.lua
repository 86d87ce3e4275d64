-- Say that the upload of a batch goes on although nothing came that could be staged.
-- ARGV: 1 batch id, 2 how long its uploader may be silent (ms)
-- -> 1 done | -1 it is not being accepted (any more)
if call('HGET', k_batch(ARGV[1]), 'status') ~= 'accepting' then return -1 end
hear_uploader(ARGV[1], tonumber(ARGV[2]))
return 1
