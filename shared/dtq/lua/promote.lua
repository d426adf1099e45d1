-- promote: puts delayed and retrying jobs whose time has come into their streams. Claim does this too; this is for
-- queues from which nobody claims at the moment.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 most jobs to promote
-- Reply {promoted, next due ms or -1}
--#include common
local p = KEYS[1]
despite_full_memory(p)
local now = clock()
local promoted = promote(p, now, tonumber(ARGV[1]))
if promoted > 0 then wake(p) end
local first = redis.call('ZRANGE', p .. ':delayed', 0, 0, 'WITHSCORES')
return {promoted, tonumber(first[2] or -1)}
