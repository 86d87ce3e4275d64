#!lua flags=allow-oom
-- Give up a batch that is being accepted.
-- ARGV: 1 batch id
-- -> 1 done | 0 it is not being accepted (any more)
-- batch from accepting to nothing
return drop_batch(ARGV[1]) and 1 or 0
