-- Helpers that other scripts include with "--#include common". Not a script of its own.
--
-- Every script gets KEYS[1] = "{dtq:schedules}" and derives the other keys, which carry the same hash tag:
--   p:names        sorted set of all names, by name (all scores 0)
--   p:due          sorted set of names by the ms at which to decide
--   p:watch        sorted set of names with active runs by the ms at which to look at them
--   p:success      hash of names to "MS OWNER", the ms of the last success
--   p:e:NAME       hash of an entry: spec (JSON), line, zone, uid, gen, owner, created, last, missed, blocked, next,
--                  success, and "r:ID" -> tick for each active run
--   p:events:NAME  list of events (JSON), newest first;  p:ok:NAME, p:bad:NAME  lists of finished runs (JSON)
-- None of them expires: they live as long as the schedule.

local p = KEYS[1]

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function text(n) -- a whole number in full: Lua prints large ones as 1.7e+12
  return string.format('%.0f', n)
end

local function anew(command, key, ...) -- a write into a key that is made anew if somebody put something else there
  local done = redis.pcall(command, key, ...)
  if type(done) ~= 'table' or not done.err then return done end
  if string.find(tostring(done.err), 'WRONGTYPE', 1, true) then redis.call('DEL', key) end
  return redis.call(command, key, ...)
end

local function remove(name)
  redis.call('DEL', p .. ':e:' .. name, p .. ':events:' .. name, p .. ':ok:' .. name, p .. ':bad:' .. name)
  redis.call('ZREM', p .. ':names', name)
  redis.call('ZREM', p .. ':due', name)
  redis.call('ZREM', p .. ':watch', name)
  redis.call('HDEL', p .. ':success', name)
end

local function set_or_clear(key, field, value)
  if value == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, value) end
end

local function decide_at(name, ms)
  if ms == '' then redis.call('ZREM', p .. ':due', name) else redis.call('ZADD', p .. ':due', ms, name) end
end
