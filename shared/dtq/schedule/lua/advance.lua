-- advance: applies decisions, each only if the entry is still as it was decided on.
--
-- KEYS  1 "{dtq:schedules}"
-- ARGV  1 most events kept, 2 ms until a new run is looked at, then for each entry 11: name, uid, generation, expected
--       last, last, missed, blocked, next, when to decide again, run id, event (JSON); '' is none
-- Reply one a decision: 2 applied; 1 the run alone was noted, the entry has changed since; 0 no such entry
--#include common
local now = clock()
local reply = {}
for i = 3, #ARGV, 11 do
  local name, run = ARGV[i], ARGV[i + 9]
  local key = p .. ':e:' .. name
  local cur = redis.pcall('HMGET', key, 'uid', 'gen', 'last')
  local done = 0
  if cur[1] == ARGV[i + 1] then
    done = 1
    if run ~= '' then
      redis.call('HSET', key, 'r:' .. run, ARGV[i + 4])
      redis.call('ZADD', p .. ':watch', 'NX', text(now + tonumber(ARGV[2])), name)
    end
    local expected = cur[3] or ''
    if run ~= '' and (expected == '' or tonumber(ARGV[i + 4]) > (tonumber(expected) or 0)) then
      redis.call('HSET', key, 'last', ARGV[i + 4])
    end
    if cur[2] == ARGV[i + 2] and expected == ARGV[i + 3] then
      done = 2
      set_or_clear(key, 'missed', ARGV[i + 5])
      set_or_clear(key, 'blocked', ARGV[i + 6])
      set_or_clear(key, 'next', ARGV[i + 7])
      set_or_clear(key, 'last', ARGV[i + 4])
      decide_at(name, ARGV[i + 8])
      if ARGV[i + 10] ~= '' then
        anew('LPUSH', p .. ':events:' .. name, ARGV[i + 10])
        redis.call('LTRIM', p .. ':events:' .. name, 0, tonumber(ARGV[1]) - 1)
      end
      if ARGV[i + 6] ~= '' then -- a tick waits for a run to end: look at the runs closely
        redis.call('ZADD', p .. ':watch', 'LT', text(now + tonumber(ARGV[2])), name)
        redis.call('ZADD', p .. ':watch', 'NX', text(now + tonumber(ARGV[2])), name)
      end
    end
  end
  reply[#reply + 1] = done
end
return reply
