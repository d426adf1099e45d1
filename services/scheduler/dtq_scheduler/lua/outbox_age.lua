-- outbox_age: for how long the oldest entry of a queue's outbox has waited. The entry itself, up to megabytes, stays on the server.
--
-- KEYS  1 the outbox
-- Reply ms, or -1 when it is empty
local head = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not head then return -1 end
local now = redis.call('TIME')
return math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(head[1], '^%d+')))
