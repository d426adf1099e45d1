-- finish(n): ends n attempts of one worker.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 worker, 2 ms a finished job is kept, 3 ms a failed one is kept, then per job: op lane entry id a b
--       k terminal:  a = TerminalJob as JSON, b = 1 if the job has a record
--       f failed for good (dead letter too): a, b as for k
--       r retry:     a = the attempt as JSON, b = delay in ms; counts a failure
--       h hand back: a, b unused; counts nothing
-- Reply {now, outbox entry id or '', (index, what)*}: only jobs for which something else happened than asked, what =
--       0 stale (the claim is no longer this worker's: nothing was changed), 2 cancelled instead of retried.
--#include common
local p, worker, resultttl, deadttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local now = clock()
local cancels = redis.call('HLEN', p .. ':cancel') > 0
local odd = {}
local blobs = {}
local gone = {f = {}, h = {}, n = {}, l = {}}

local function keep_record(id, lane, eid) -- the job's record, made now if it lived in its entry alone
  local rec = record(p, id)
  if rec then return rec end
  local found = redis.call('XRANGE', p .. ':' .. lane, eid, eid)
  rec = record_of_entry(lane, eid, found[1] and found[1][2] or {})
  save(p, id, rec)
  return rec
end

local index = 0
for i = 4, #ARGV, 6 do
  local op, lane, eid, id, a, b = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local stream = p .. ':' .. lane
  local mine = redis.pcall('XPENDING', stream, GROUP, eid, eid, 1, worker)
  if mine.err or not mine[1] then
    odd[#odd + 1] = index
    odd[#odd + 1] = 0
  else
    local list = gone[lane]
    list[#list + 1] = eid
    if op == 'k' or op == 'f' then
      redis.call('SET', p .. ':done:' .. id, a, 'PX', op == 'k' and resultttl or deadttl)
      blobs[#blobs + 1] = a
      if b == '1' then redis.call('DEL', p .. ':job:' .. id) end
      if op == 'f' then redis.call('ZADD', p .. ':dead', text(now), id) end
      if cancels then redis.call('HDEL', p .. ':cancel', id) end
    else
      local rec = keep_record(id, lane, eid)
      if op == 'r' then
        rec.n = text(tonumber(rec.n or '0') + 1)
        rec.a = (rec.a and rec.a ~= '') and rec.a .. ',' .. a or a
      end
      if cancels and redis.call('HEXISTS', p .. ':cancel', id) == 1 then
        finish_here(p, id, rec, 'cancelled', now, CANCELLED, resultttl, deadttl)
        odd[#odd + 1] = index
        odd[#odd + 1] = 2
      elseif op == 'r' then
        local due = text(now + tonumber(b))
        redis.call('HSET', p .. ':job:' .. id, 'n', rec.n, 'a', rec.a, 'st', 'retrying', 'due', due)
        redis.call('HDEL', p .. ':job:' .. id, 'e')
        redis.call('ZADD', p .. ':delayed', due, id)
      else
        enqueue(p, id, 'f')
        wake(p)
      end
    end
  end
  index = index + 1
end

for lane, list in pairs(gone) do
  if #list > 0 then
    redis.call('XACK', p .. ':' .. lane, GROUP, unpack(list))
    redis.call('XDEL', p .. ':' .. lane, unpack(list))
  end
end
local outbox = ''
if #blobs > 0 then outbox = redis.call('XADD', p .. ':outbox', '*', 'r', '[' .. table.concat(blobs, ',') .. ']') end
return {now, outbox, unpack(odd)}
