-- fire: starts the job of a schedule's tick, at most once.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 uid of the schedule, 2 tick (unix ms of its minute; 0: a run asked for by hand), 3 Allow|Forbid|Replace,
--       4 job id ('' for a run by hand), 5 lane, 6 type, 7 payload, 8 options, 9 ms a finished job is kept, 10 ms a failed one is
-- Reply {started|duplicate|active, id, {live run id*}}
-- p:ticks UID -> last tick started; p:runs:UID id -> tick, until forgotten by the run watcher.
--#include common
local p, uid, tick, policy, id = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local now = clock()
local runs = p .. ':runs:' .. uid
local live = {}
local all = redis.call('HKEYS', runs)
for _, run in ipairs(all) do
  if redis.call('EXISTS', p .. ':job:' .. run) == 1 then
    live[#live + 1] = run
  elseif #all > 200 then -- nobody watches: keep the hash bounded
    redis.call('HDEL', runs, run)
  end
end
if tick > 0 then
  local last = redis.call('HGET', p .. ':ticks', uid)
  if last and tonumber(last) >= tick then return {'duplicate', id, live} end
  if policy == 'Forbid' and #live > 0 then return {'active', '', live} end
  if policy == 'Replace' then
    local still = {}
    for _, run in ipairs(live) do
      if cancel(p, run, 't', '', now, ARGV[9], ARGV[10]) == 'running' then still[#still + 1] = run end
    end
    live = still
  end
  redis.call('HSET', p .. ':ticks', uid, text(tick))
else
  id = string.format('%011x%05xd-%s', now, anew('INCR', p .. ':seq'), string.match(p, '{(.*)}'))
end
if redis.call('EXISTS', p .. ':job:' .. id) == 0 and not finished(p, id) then
  save(p, id, {t = ARGV[6], p = ARGV[7], o = ARGV[8], lane = ARGV[5], sub = text(tick > 0 and tick or now), n = '0', c = '0',
    a = '', rp = '0', uid = uid})
  enqueue(p, id, ARGV[5])
  wake(p)
end
redis.call('HSET', runs, id, text(tick > 0 and tick or now))
live[#live + 1] = id
return {'started', id, live}
