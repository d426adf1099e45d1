-- stats: the numbers of one queue, each in constant time.
--
-- KEYS  1 "dtq:{QUEUE}"
-- Reply {now, ready, due, delayed, running, dead, oldest ready ms or -1, paused 0|1, workers with a lease, outbox entries}
--       delayed counts jobs whose time has not come; oldest is when the job at the head became ready
--#include common
local p = KEYS[1]
local now = clock()
local held, running, oldest = 0, 0, -1
for _, lane in ipairs({'f', 'h', 'n', 'l'}) do
  local stream = p .. ':' .. lane
  local length = redis.call('XLEN', stream)
  if length > 0 then
    held = held + length
    local delivered, pending = '0-0', 0
    local groups = redis.pcall('XINFO', 'GROUPS', stream)
    if not groups.err and groups[1] then
      local g = pairs_of(groups[1])
      delivered, pending = g['last-delivered-id'], tonumber(g.pending)
    end
    running = running + pending
    if length > pending then
      local head = redis.call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)
      if head[1] then
        local ms = tonumber(string.match(head[1][1], '^%d+'))
        if oldest < 0 or ms < oldest then oldest = ms end
      end
    end
  end
end
local due = redis.call('ZCOUNT', p .. ':delayed', '-inf', text(now))
return {now, held - running, due, redis.call('ZCARD', p .. ':delayed') - due, running, redis.call('ZCARD', p .. ':dead'), oldest,
  redis.call('EXISTS', p .. ':paused'), redis.call('ZCOUNT', p .. ':workers', '(' .. text(now), '+inf'), redis.call('XLEN', p .. ':outbox')}
