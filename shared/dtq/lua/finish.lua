-- finish(n): ends n attempts of one worker.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 worker, 2 ms a finished job is kept, 3 ms a failed one is kept, then per job: op lane entry id a b
--       k terminal:  a = TerminalJob as JSON, b = 1 if the job has a record
--       f failed for good (dead letter too): a, b as for k
--       r retry:     a = the attempt as JSON, b = delay in ms; counts a failure
--       h hand back: a, b unused; counts nothing
-- Reply {now, outbox entry id or '', (index, what)*}: only jobs for which something else happened than asked, what =
--       0 stale (the claim is no longer this worker's: nothing was changed), 1 the same, because this very ending was
--       written before (its reply was lost), 2 cancelled instead of retried.
--#include common
local p, worker, resultttl, deadttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
despite_full_memory(p)
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

-- Whether each claim is still this worker's: one look a lane for a batch, since a look an entry would cost as much as
-- all the rest. The range can hold more of the worker's claims than are ending; past the count, entries are asked one by one.
local low, high, ending = {}, {}, {}
local function before(a, b) -- milliseconds have 13 digits until the year 2286, so the longer number is the later one
  return #a < #b or (#a == #b and a < b)
end
for i = 4, #ARGV, 6 do
  local lane, eid = ARGV[i + 1], ARGV[i + 2]
  if not low[lane] then low[lane], high[lane], ending[lane] = eid, eid, 0 end
  if before(eid, low[lane]) then low[lane] = eid elseif before(high[lane], eid) then high[lane] = eid end
  ending[lane] = ending[lane] + 1
end
local mine = {}
for lane, n in pairs(ending) do
  local own = {}
  local found = redis.pcall('XPENDING', p .. ':' .. lane, GROUP, low[lane], high[lane], 2 * n + 10, worker)
  if not found.err then
    for k = 1, #found do own[found[k][1]] = true end
  end
  mine[lane] = own
end

local function is_mine(lane, eid)
  local known = mine[lane][eid]
  if known ~= nil then return known end
  local found = redis.pcall('XPENDING', p .. ':' .. lane, GROUP, eid, eid, 1, worker)
  return not found.err and found[1] ~= nil
end

local function is_written(op, id, a) -- an ending holds worker and times: no other has the same text
  if op == 'k' or op == 'f' then return redis.pcall('HGET', done_key(p, id, op == 'f'), id) == a end
  local history = op == 'r' and redis.pcall('HGET', p .. ':job:' .. id, 'a')
  return type(history) == 'string' and string.find(history, a, 1, true) ~= nil
end

local index = 0
local results = {} -- key -> id, text, id, text, ...

local function store(key, id, blob)
  local list = results[key]
  if not list then
    list = {}
    results[key] = list
  end
  list[#list + 1] = id
  list[#list + 1] = blob
end

for i = 4, #ARGV, 6 do
  local op, lane, eid, id, a, b = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  if not is_mine(lane, eid) then
    odd[#odd + 1] = index
    odd[#odd + 1] = is_written(op, id, a) and 1 or 0
  else
    mine[lane][eid] = false -- the same claim once more in this batch is stale
    local list = gone[lane]
    list[#list + 1] = eid
    if op == 'k' or op == 'f' then
      store(done_key(p, id, op == 'f'), id, a)
      blobs[#blobs + 1] = a
      if b == '1' then redis.call('DEL', p .. ':job:' .. id) end
      if op == 'f' then anew('ZADD', p .. ':dead', text(now), id) end
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
for key, list in pairs(results) do
  keep(key, list, string.sub(key, #p + 1, #p + 8) == ':failed:' and deadttl or resultttl)
end
local outbox = ''
if #blobs > 0 then outbox = anew('XADD', p .. ':outbox', '*', 'r', '[' .. table.concat(blobs, ',') .. ']') end
return {now, outbox, unpack(odd)}
