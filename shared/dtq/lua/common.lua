-- Helpers that other scripts include with "--#include common". Not a script of its own.
--
-- Every script gets KEYS[1] = "dtq:{QUEUE}" and derives the queue's other keys from it. They all carry the same hash
-- tag, so on a cluster they are in the slot of KEYS[1] (docs/adr/0002). The key map is in docs/architecture.md.
--
-- A record is the hash p:job:ID of a job that has a history: fields t type, p payload, o options (JSON), lane,
-- st scheduled|retrying|queued, sub submit time, due, e "LANE:ENTRY" while in a stream, n failed attempts,
-- c crashes, a history (JSON objects joined by commas), rp replays, uid of the schedule that started it.

local GROUP = 'w'

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Lets the rest of the script write although the server is at maxmemory: it refuses a script only at its first write, and
-- only if that may use memory. What ends jobs must go on then, or nothing would ever be freed.
local function despite_full_memory(p) redis.pcall('HDEL', p .. ':cancel', '') end

local function text(n) -- a whole number in full: Lua prints large ones as 1.7e+12
  return string.format('%.0f', n)
end

-- A write into a key, made anew if somebody put something else there: what the key held is lost already.
local function anew(command, key, ...)
  local done = redis.pcall(command, key, ...)
  if type(done) ~= 'table' or not done.err then return done end
  local why = tostring(done.err)
  if string.find(why, 'WRONGTYPE', 1, true) or string.find(why, 'value is not', 1, true) then redis.call('DEL', key) end
  return redis.call(command, key, ...)
end

-- Reads up to n entries of a lane for a worker, as XREADGROUP gives them; an entry of a job with a record (fields "i", ID)
-- gets its record appended: t, p, o, n, c, a, sub, rp, lane. Nil if there are none; second, the error of a damaged lane.
local function read_lane(p, lane, worker, n)
  local stream = p .. ':' .. lane
  local got = redis.pcall('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', n, 'STREAMS', stream, '>')
  if got and got.err then
    redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    got = redis.pcall('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', n, 'STREAMS', stream, '>')
    if got and got.err then return nil, got.err end
  end
  if not (got and got[1]) then return nil end
  local entries = got[1][2]
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    if fields and fields[1] == 'i' then
      local rec = redis.pcall('HMGET', p .. ':job:' .. fields[2], 't', 'p', 'o', 'n', 'c', 'a', 'sub', 'rp', 'lane')
      fields[#fields + 1] = rec.err and {} or rec
    end
  end
  return entries
end

local LANES = {'f', 'h', 'n', 'l'} -- in the order of claiming

local function read_first(p, worker) -- the first job there is, as JSON [lane, entry id, fields]
  for _, lane in ipairs(LANES) do
    local entries = read_lane(p, lane, worker, 1)
    if entries then return cjson.encode({lane, entries[1][1], entries[1][2]}) end
  end
  return nil
end

-- Lets one idle worker know that there may be work. The one that has waited longest under a valid lease gets the first
-- job into its box, claimed for it: it starts without a claim of its own, so that submit and claim cost one fsync. With
-- `look` it is asked to look even if there is no job. Where no worker waits, a token is left for the next blocking read.
local function wake(p, look)
  for _ = 1, 8 do
    local idle = redis.pcall('ZPOPMIN', p .. ':idle')
    local worker = idle[1]
    if not worker then break end
    local lease = redis.pcall('ZSCORE', p .. ':workers', worker)
    if type(lease) == 'string' and tonumber(lease) > clock() then
      local job = redis.call('EXISTS', p .. ':paused') == 0 and read_first(p, worker)
      if job or look then
        anew('RPUSH', p .. ':box:' .. worker, job or '')
      else
        redis.call('ZADD', p .. ':idle', idle[2], worker)
      end
      return
    end
  end
  local tokens = redis.pcall('LLEN', p .. ':wake')
  if type(tokens) == 'table' or tokens == 0 then anew('RPUSH', p .. ':wake', '1') end
end

local function pairs_of(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

local NAMES = {h = 'high', n = 'normal', l = 'low', f = 'normal'}

-- What follows up to record() makes sure that a record which somebody changed by hand cannot stop a script or spoil a row.

local function utf8(s) -- s, with ? for its bytes above 127 if it is not UTF-8 (RFC 3629)
  if not string.find(s, '[\128-\255]') then return s end
  local rest = s
  for _, sequence in ipairs({'[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]',
    '\244[\128-\143][\128-\191][\128-\191]'}) do rest = string.gsub(rest, sequence, '_') end
  if string.find(rest, '[\128-\255]') then return (string.gsub(s, '[\128-\255]', '?')) end
  return s
end

local function is_json(s) -- cjson alone also takes nan, hexadecimal numbers and bytes that are not UTF-8
  if not pcall(cjson.decode, s) or utf8(s) ~= s then return false end
  local bare = string.gsub(string.gsub(s, '\\.', ''), '"[^"]*"', '')
  return not string.find(bare, '[^%s%d%[%]{},:.+%-truefalsnE]') and not string.find(bare, 'na', 1, true)
end

local function whole(s, default) -- a whole number as text
  s = s or ''
  if string.find(s, '^%d+$') and #s < 16 then return s end
  return default
end

local function record(p, id)
  local flat = redis.pcall('HGETALL', p .. ':job:' .. id)
  if flat.err then redis.call('DEL', p .. ':job:' .. id) end -- somebody wrote over it
  if #flat == 0 then return nil end
  local rec = pairs_of(flat)
  rec.t = utf8(rec.t or '')
  rec.n, rec.c, rec.rp = whole(rec.n, '0'), whole(rec.c, '0'), whole(rec.rp, '0')
  rec.sub = whole(rec.sub, text(tonumber(string.match(id, '^%x%x%x%x%x%x%x%x%x%x%x') or '0', 16)))
  if not NAMES[rec.lane] then rec.lane = 'n' end
  return rec
end

-- The record that a job gets when it leaves its first stream entry.
local function record_of_entry(lane, eid, fields)
  local f = pairs_of(fields)
  return {t = utf8(f.t or ''), p = f.p or 'null', o = f.o or '', lane = lane, sub = string.match(eid, '^%d+'), n = '0', c = '0', a = '', rp = '0'}
end

local function save(p, id, rec)
  local flat = {}
  for k, v in pairs(rec) do flat[#flat + 1] = k; flat[#flat + 1] = v end
  redis.call('HSET', p .. ':job:' .. id, unpack(flat))
end

local function enqueue(p, id, lane) -- puts a recorded job into a stream and notes where
  if not NAMES[lane] then lane = 'n' end
  local eid = redis.call('XADD', p .. ':' .. lane, '*', 'i', id)
  redis.call('HSET', p .. ':job:' .. id, 'st', 'queued', 'e', lane .. ':' .. eid)
end

local function promote(p, now, most) -- puts due jobs into their streams; returns how many
  local promoted = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. ':delayed', '-inf', text(now), 'LIMIT', 0, most)) do
    local lane = redis.pcall('HGET', p .. ':job:' .. id, 'lane')
    if type(lane) == 'table' then -- somebody wrote over its record: it ends as damaged
      redis.call('DEL', p .. ':job:' .. id)
      lane = 'n'
    end
    redis.call('ZREM', p .. ':delayed', id)
    if lane then
      enqueue(p, id, lane)
      promoted = promoted + 1
    end
  end
  return promoted
end

local function json_or_text(s) -- payloads are JSON; one that somebody broke by hand is kept as a string
  if is_json(s) then return s end
  return cjson.encode(utf8(s))
end

-- The JSON text of a TerminalJob (dtq.job) for a transition that no worker reports.
local function terminal_json(queue, id, rec, state, now, err)
  local history = rec.a or ''
  if history ~= '' and not is_json('[' .. history .. ']') then history = '' end
  local out = {'{"id":', cjson.encode(utf8(id)), ',"queue":', cjson.encode(queue), ',"type":', cjson.encode(rec.t or ''),
    ',"state":"', state, '","submitted":', rec.sub or text(now), ',"finished":', text(now), ',"replays":', rec.rp or '0',
    ',"payload":', json_or_text(rec.p or 'null'), ',"priority":"', NAMES[rec.lane] or 'normal', '","attempts":[', history, ']'}
  if err then out[#out + 1] = ',"error":' .. err end
  local ok, opts = pcall(cjson.decode, rec.o or '')
  if ok and type(opts) == 'table' then
    if type(opts.timeout) == 'number' then out[#out + 1] = ',"timeout":' .. cjson.encode(opts.timeout) end
    if type(opts.max_retries) == 'number' then out[#out + 1] = ',"max_retries":' .. text(opts.max_retries) end
    if type(opts.schedule) == 'string' then out[#out + 1] = ',"schedule":' .. cjson.encode(utf8(opts.schedule)) end
  end
  out[#out + 1] = '}'
  return table.concat(out)
end

-- state, finish time and replays of a TerminalJob's JSON text: its first fields are always the same (dtq.job)
local function head_of(blob)
  return string.match(blob, '^{"id":"[^"]*","queue":"[^"]*","type":".-","state":"(%a+)","submitted":%d+,"finished":(%d+),"replays":(%d+)')
end

-- Finished jobs are kept in hashes by the first nine digits of their ids, that is by the quarter of a second in which they
-- were submitted: one command stores a batch, and one expires it. Failed ones have hashes of their own, as they stay longer.
local function done_key(p, id, failed) return p .. (failed and ':failed:' or ':done:') .. string.sub(id, 1, 9) end

local function finished(p, id) -- the TerminalJob JSON of a finished job, nil if it is not in Redis
  for _, failed in ipairs({false, true}) do
    local found = redis.pcall('HGET', done_key(p, id, failed), id)
    if type(found) == 'string' then return found end
  end
  return nil
end

-- Keeps finished jobs (id, JSON, id, JSON, ...) under one key for at least so many ms.
local function keep(key, list, ttl)
  anew('HSET', key, unpack(list))
  if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
end

local function forget(p, id)
  redis.pcall('HDEL', done_key(p, id), id)
  redis.pcall('HDEL', done_key(p, id, true), id)
end

-- Ends a job: terminal record, dead-letter set if it failed, outbox. Its stream entry is the caller's to remove.
local function finish_here(p, id, rec, state, now, err, resultttl, deadttl)
  local queue = string.match(p, '{(.*)}')
  local blob = terminal_json(queue, id, rec, state, now, err)
  local failed = state == 'failed'
  if failed then anew('ZADD', p .. ':dead', text(now), id) end
  keep(done_key(p, id, failed), {id, blob}, failed and deadttl or resultttl)
  redis.call('DEL', p .. ':job:' .. id)
  redis.call('HDEL', p .. ':cancel', id)
  redis.call('ZREM', p .. ':delayed', id)
  anew('XADD', p .. ':outbox', '*', 'r', '[' .. blob .. ']')
  return blob
end

local function is_pending(p, lane, eid)
  local ok, found = pcall(redis.call, 'XPENDING', p .. ':' .. lane, GROUP, eid, eid, 1)
  if ok and type(found) == 'table' and found.err == nil and found[1] then return found[1] end
  return nil
end

local CANCELLED = '{"kind":"cancelled","message":"cancelled by request"}'

-- Cancels a job wherever it is. Returns its state afterwards ('running': its worker is told), or nil if unknown.
local function cancel(p, id, kind, eid, now, resultttl, deadttl)
  local done = finished(p, id)
  if done then return (head_of(done)) end
  local rec = record(p, id)
  local lane = kind
  if rec then
    if rec.st ~= 'queued' then
      finish_here(p, id, rec, 'cancelled', now, CANCELLED, resultttl, deadttl)
      return 'cancelled'
    end
    lane, eid = string.match(rec.e or '', '^(%a):(.*)$')
  end
  if not (lane == 'f' or lane == 'h' or lane == 'n' or lane == 'l') then return nil end
  local found = redis.call('XRANGE', p .. ':' .. lane, eid, eid)
  if #found == 0 then return nil end
  if is_pending(p, lane, eid) then
    redis.call('HSET', p .. ':cancel', id, text(now))
    return 'running'
  end
  redis.call('XDEL', p .. ':' .. lane, eid)
  finish_here(p, id, rec or record_of_entry(lane, eid, found[1][2]), 'cancelled', now, CANCELLED, resultttl, deadttl)
  return 'cancelled'
end
