-- take: hands out names whose time has come, each to one caller for a while. Handing out only spreads the work: what a
-- caller does is idempotent, and if it dies another one gets the name when the while is over.
--
-- KEYS  1 "{dtq:schedules}"
-- ARGV  1 due|watch, 2 most names, 3 ms for which they are the caller's
-- Reply {now, next ms or -1, {name, entry (flat)}*}
--#include common
local set = p .. ':' .. ARGV[1]
local now = clock()
local reply = {now, -1}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', text(now), 'LIMIT', 0, tonumber(ARGV[2]))) do
  local flat = redis.pcall('HGETALL', p .. ':e:' .. name)
  local odd = flat.err -- somebody wrote over it: it is told as one that cannot be read
  if odd then flat = {} end
  if #flat == 0 and not odd then
    redis.call('ZREM', set, name)
  else
    redis.call('ZADD', set, text(now + tonumber(ARGV[3])), name)
    reply[#reply + 1] = {name, flat}
  end
end
local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
if first[2] then reply[2] = tonumber(first[2]) end
return reply
