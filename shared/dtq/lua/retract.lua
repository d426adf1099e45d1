-- retract: a worker waits no more. Nothing is claimed for it from now on, and it gets what is in its box.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 worker, 2 = 1: leave a word in the box, so that a blocking read on it ends
-- Reply what was in the box, oldest first: a job as JSON [lane, entry id, fields], or '' for a word to look.
--#include common
local p, box = KEYS[1], KEYS[1] .. ':box:' .. ARGV[1]
redis.pcall('ZREM', p .. ':idle', ARGV[1])
local found = redis.pcall('LRANGE', box, 0, -1)
if #found > 0 or found.err then redis.call('DEL', box) end
if found.err then found = {} end -- somebody wrote over it
if ARGV[2] == '1' then
  redis.call('RPUSH', box, '')
  redis.call('PEXPIRE', box, 3600000) -- a worker that has no lease any more, and dies before it reads this, is never tidied up after
end
return found
