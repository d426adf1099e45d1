-- put: makes a schedule or changes its spec. Idempotent.
--
-- KEYS  1 "{dtq:schedules}"
-- ARGV  1 name, 2 uid for a new entry, 3 '1': ARGV 2 and 4 come from a resource and fence the write, 4 generation,
--       5 owner ('' the API), 6 spec (JSON), 7 line, 8 zone, 9 '1' when suspended,
--       10 first tick from now on ('' never), 11 creation ms ('' now), 12 last start ms for a new entry ('' none)
-- Reply {outcome, detail}: created, changed, unchanged; stale (a newer version is there already), owned (detail: by whom)
--#include common
local name, owner, fenced = ARGV[1], ARGV[5], ARGV[3] == '1'
local key = p .. ':e:' .. name
local now = clock()
local cur = redis.call('HMGET', key, 'uid', 'gen', 'owner', 'spec', 'line', 'zone', 'created')
local uid, gen = cur[1], tonumber(cur[2] or '') or 0

if uid and cur[3] ~= owner then return {'owned', cur[3]} end
if uid and fenced and uid ~= ARGV[2] then
  if ARGV[11] ~= '' and tonumber(ARGV[11]) < (tonumber(cur[7] or '') or 0) then return {'stale', ''} end
  remove(name) -- another resource has the name now
  uid = false
end
if not uid then
  redis.call('HSET', key, 'uid', ARGV[2], 'gen', fenced and ARGV[4] or '1', 'owner', owner, 'spec', ARGV[6], 'line', ARGV[7],
    'zone', ARGV[8], 'created', ARGV[11] ~= '' and ARGV[11] or text(now))
  set_or_clear(key, 'last', ARGV[12])
  redis.call('ZADD', p .. ':names', 0, name)
  local next_at = ARGV[9] == '1' and '' or ARGV[10]
  set_or_clear(key, 'next', next_at)
  -- One made earlier than now may have unmet ticks already.
  local behind = ARGV[11] ~= '' or ARGV[12] ~= ''
  decide_at(name, (behind and ARGV[9] ~= '1') and text(now) or next_at)
  return {'created', ''}
end
if fenced and tonumber(ARGV[4]) < gen then return {'stale', ''} end
redis.call('ZADD', p .. ':names', 0, name) -- here and below: what somebody removed by hand comes back
if cur[4] == ARGV[6] then
  local next_at = redis.call('HGET', key, 'next')
  if next_at and not redis.call('ZSCORE', p .. ':due', name) then decide_at(name, next_at) end
  if fenced then redis.call('HSET', key, 'gen', ARGV[4]) end
  return {'unchanged', ''}
end
redis.call('HSET', key, 'spec', ARGV[6], 'line', ARGV[7], 'zone', ARGV[8], 'gen', fenced and ARGV[4] or text(gen + 1))
if ARGV[9] == '1' then
  set_or_clear(key, 'next', '')
  decide_at(name, '')
else
  set_or_clear(key, 'next', ARGV[10])
  -- A new line or zone takes effect at its first tick; any other change, such as an end of suspension, may start an
  -- unmet tick now. CronJob's controller does the same.
  local rescheduled = cur[5] ~= ARGV[7] or cur[6] ~= ARGV[8]
  decide_at(name, rescheduled and ARGV[10] or text(now))
end
return {'changed', ''}
