-- leave: a worker says good-bye to a queue.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 worker
-- Reply the number of its claims left. While there are any, it is marked as expired, so that reclaim takes them at once.
--#include common
local p, worker = KEYS[1], ARGV[1]
despite_full_memory(p)
local left = 0
for _, lane in ipairs(LANES) do
  local found = redis.pcall('XPENDING', p .. ':' .. lane, GROUP, '-', '+', 1, worker)
  if found.err then
    -- no such stream or group: nothing claimed there
  elseif #found > 0 then
    left = left + 1
  else
    redis.pcall('XGROUP', 'DELCONSUMER', p .. ':' .. lane, GROUP, worker)
  end
end
redis.pcall('ZREM', p .. ':idle', worker)
redis.call('DEL', p .. ':box:' .. worker)
wake(p) -- a token that this worker's last blocking read took is given back
if left > 0 then anew('ZADD', p .. ':workers', '0', worker) else redis.pcall('ZREM', p .. ':workers', worker) end
return left
