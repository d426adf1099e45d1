-- runs: the runs of one schedule that are not forgotten yet.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 uid, then ids to forget (finished ones that the caller has seen)
-- Reply {id, tick ms, state, finished ms}*; state 'live' unless terminal, 'gone' when Redis no longer has it
--#include common
local p = KEYS[1]
local runs = p .. ':runs:' .. ARGV[1]
for i = 2, #ARGV do redis.call('HDEL', runs, ARGV[i]) end
local reply = {}
local flat = redis.call('HGETALL', runs)
for i = 1, #flat, 2 do
  local state, ended_at = 'gone', '0'
  if redis.call('EXISTS', p .. ':job:' .. flat[i]) == 1 then
    state = 'live'
  else
    local done = finished(p, flat[i])
    if done then
      local ended, at = head_of(done)
      if ended then state, ended_at = ended, at end
    end
  end
  reply[#reply + 1] = {flat[i], flat[i + 1], state, ended_at}
end
return reply
