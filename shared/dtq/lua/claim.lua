-- claim(n): hands up to n waiting jobs to one worker and puts them under its lease.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 worker (a random name of one worker process's life: with the entry id it is the claim's token),
--       2 n, 3 lease in ms
-- Reply {now, paused 0|1, next due ms or -1, {lane, entries}*}. A lane's entries are as XREADGROUP gives them; an entry
--       of a job with a record (fields "i", ID) has its record appended: t, p, o, n, c, a, sub, rp, lane.
-- Order: redelivered jobs first, then priority high, normal, low; within one by age.
--#include common
local p, worker, left, lease = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock()
if redis.call('EXISTS', p .. ':paused') == 1 then return {now, 1, -1} end

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
for _, lane in ipairs({'f', 'h', 'n', 'l'}) do
  if left > 0 then
    local stream = p .. ':' .. lane
    local got = redis.pcall('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', left, 'STREAMS', stream, '>')
    if got and got.err then
      redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
      got = redis.pcall('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', left, 'STREAMS', stream, '>')
      if got and got.err then
        damage = got.err
        got = nil
      end
    end
    if got and got[1] then
      local entries = got[1][2]
      for _, entry in ipairs(entries) do
        local fields = entry[2]
        if fields and fields[1] == 'i' then
          fields[#fields + 1] = redis.call('HMGET', p .. ':job:' .. fields[2], 't', 'p', 'o', 'n', 'c', 'a', 'sub', 'rp', 'lane')
        end
      end
      left = left - #entries
      reply[#reply + 1] = lane
      reply[#reply + 1] = entries
    end
  end
end
if left < wanted then
  redis.call('ZADD', p .. ':workers', text(now + lease), worker)
  if left == 0 then wake(p) end -- there may be more: let the next idle worker look
elseif damage then
  return redis.error_reply(damage)
end
return reply
