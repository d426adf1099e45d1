-- renew: keeps a worker's claims on one queue, and tells it which running jobs are to be cancelled.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 worker, 2 lease in ms
-- Reply {held 0|1, id*}: held 0 means that the lease had run out and what the worker was running is no longer its own;
--       the ids are all running jobs of the queue whose cancellation was asked.
--#include common
local p = KEYS[1]
despite_full_memory(p)
local held = type(redis.pcall('ZSCORE', p .. ':workers', ARGV[1])) == 'string'
anew('ZADD', p .. ':workers', text(clock() + tonumber(ARGV[2])), ARGV[1])
local reply = {held and 1 or 0}
if redis.call('HLEN', p .. ':cancel') > 0 then
  for _, id in ipairs(redis.call('HKEYS', p .. ':cancel')) do reply[#reply + 1] = id end
end
return reply
