-- claim(n): hands up to n waiting jobs to one worker and puts them under its lease.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 worker (a random name of one worker process's life: with the entry id it is the claim's token),
--       2 n, 3 lease in ms, 4 = 1: if fewer than n are there, the worker waits for more. It is noted as idle, and the next
--       job may be claimed for it and left in its box (wake, in common.lua)
-- Reply {now, paused 0|1, next due ms or -1, {lane, entries}*}: entries as read_lane (common.lua) gives them.
-- Order: redelivered jobs first, then priority high, normal, low; within one by age.
--#include common
local p, worker, left, lease = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock()

local function wait()
  if ARGV[4] == '1' and anew('ZADD', p .. ':idle', 'NX', text(now), worker) == 1 then
    anew('ZADD', p .. ':workers', text(now + lease), worker)
  end
end

if redis.call('EXISTS', p .. ':paused') == 1 then
  wait()
  return {now, 1, -1}
end

local nextdue = -1
local first = redis.call('ZRANGE', p .. ':delayed', 0, 0, 'WITHSCORES')
if first[2] then
  nextdue = tonumber(first[2])
  if nextdue <= now then
    promote(p, now, left + 100)
    first = redis.call('ZRANGE', p .. ':delayed', 0, 0, 'WITHSCORES')
    nextdue = tonumber(first[2] or -1)
  end
end

local reply = {now, 0, nextdue}
local damage -- of a lane that is not what it should be: it must not cost the claims of the others
local wanted = left
for _, lane in ipairs(LANES) do
  if left > 0 then
    local entries, err = read_lane(p, lane, worker, left)
    damage = damage or err
    if entries then
      left = left - #entries
      reply[#reply + 1] = lane
      reply[#reply + 1] = entries
    end
  end
end
if left < wanted then
  anew('ZADD', p .. ':workers', text(now + lease), worker)
elseif damage then
  return redis.error_reply(damage)
end
if left > 0 then
  wait()
else
  redis.call('ZREM', p .. ':idle', worker) -- it is full
  wake(p) -- there may be more: for the next idle worker
end
return reply
