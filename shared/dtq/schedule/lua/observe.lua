-- observe: notes what became of a schedule's runs.
--
-- KEYS  1 "{dtq:schedules}"
-- ARGV  1 name, 2 uid, 3 ms until the next look ('' none is active), then for each run 6: id, tick ms,
--       what (live: note it if unknown; ok, bad: it ended; gone: nothing is known of its end), finished ms, JSON, limit of the history
-- Reply 1, or 0 when the entry is not there any more
--#include common
local name = ARGV[1]
local key = p .. ':e:' .. name
if redis.call('HGET', key, 'uid') ~= ARGV[2] then return 0 end
local now = clock()
local ended = false
for i = 4, #ARGV, 6 do
  local field, what = 'r:' .. ARGV[i], ARGV[i + 2]
  if what == 'live' then
    redis.call('HSETNX', key, field, ARGV[i + 1])
  else
    local fresh = redis.call('HDEL', key, field) == 1
    ended = true
    if fresh and what ~= 'gone' then
      local list, limit = p .. ':' .. what .. ':' .. name, tonumber(ARGV[i + 5])
      if limit > 0 then
        anew('LPUSH', list, ARGV[i + 4])
        redis.call('LTRIM', list, 0, limit - 1)
      else
        redis.call('DEL', list)
      end
    end
    if what == 'ok' and tonumber(ARGV[i + 3]) > (tonumber(redis.call('HGET', key, 'success') or '') or 0) then
      redis.call('HSET', key, 'success', ARGV[i + 3])
      anew('HSET', p .. ':success', name, ARGV[i + 3] .. ' ' .. (redis.call('HGET', key, 'owner') or ''))
    end
  end
end
if ARGV[3] == '' then
  redis.call('ZREM', p .. ':watch', name)
else
  redis.call('ZADD', p .. ':watch', text(now + tonumber(ARGV[3])), name)
end
-- A tick that waits may start now. It may have begun to wait only after its run was seen to end, so that none is active.
if (ended or ARGV[3] == '') and redis.call('HEXISTS', key, 'blocked') == 1 then
  redis.call('ZADD', p .. ':due', text(now), name)
end
return 1
