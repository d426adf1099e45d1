-- submit(n): puts jobs into their queues, all or none.
--
-- KEYS  one "dtq:{QUEUE}" per queue named (several only where all are on one server)
-- ARGV  1 limit of jobs a queue may hold (0: none), 2 ms that an idempotency key is remembered, then segments:
--       P key lane type options count payload*count   jobs to run now, alike but for their payload
--       S key lane type options payload mode value idempotency digest   one job; mode 0 now, 1 delay ms, 2 at ms;
--         idempotency and digest '' when there is no key
-- Reply {now, answer*n}: an answer is the stream entry id of a job queued now, {id, due ms} of one scheduled, or
--       {0, id} for the repeat of an idempotent request. Errors before anything is written: FULL key, CONFLICT index,
--       DAMAGED key error (a structure of the queue is not what it should be).
--#include common
local limit, idemttl = tonumber(ARGV[1]), ARGV[2]
local now = clock()
local total = #ARGV

local adding = {} -- new jobs for each of KEYS
local segments = 0
local keyed = {} -- idempotency key -> {digest, answer} of this batch and of earlier ones
do
  local i, index = 3, 0
  while i <= total do
    local key = tonumber(ARGV[i + 1])
    segments = segments + 1
    if ARGV[i] == 'P' then
      local n = tonumber(ARGV[i + 5])
      adding[key] = (adding[key] or 0) + n
      i, index = i + 6 + n, index + n
    else
      local idem, fresh = ARGV[i + 8], 1
      if idem ~= '' then
        local where = key .. ':' .. idem
        if keyed[where] then
          fresh = 0
        else
          local known = redis.pcall('GET', KEYS[key] .. ':idem:' .. idem)
          if type(known) == 'string' then -- else it is new, or somebody wrote over it
            local digest, id = string.match(known, '^(%S*) (.*)$')
            keyed[where] = {digest, {0, id}}
            fresh = 0
          else
            keyed[where] = {ARGV[i + 9], nil}
          end
        end
        if keyed[where][1] ~= ARGV[i + 9] then return redis.error_reply('CONFLICT ' .. index) end
      end
      adding[key] = (adding[key] or 0) + fresh
      i, index = i + 10, index + 1
    end
  end
end

if segments > 1 then -- a single one is refused by its first write
  local seen = {} -- structures that get something
  local i = 3
  while i <= total do
    local p = KEYS[tonumber(ARGV[i + 1])]
    local lane, alike = p .. ':' .. ARGV[i + 2], ARGV[i] == 'P'
    if not seen[lane] then seen[lane] = {'XLEN', ARGV[i + 1]} end
    if not alike and ARGV[i + 6] ~= '0' then seen[p .. ':delayed'] = {'ZCARD', ARGV[i + 1]} end
    i = i + (alike and 6 + tonumber(ARGV[i + 5]) or 10)
  end
  for where, how in pairs(seen) do
    local found = redis.pcall(how[1], where)
    if type(found) == 'table' then return redis.error_reply('DAMAGED ' .. how[2] .. ' ' .. tostring(found.err)) end
  end
end

if limit > 0 then
  for key, n in pairs(adding) do
    local p = KEYS[key]
    local held = redis.call('ZCARD', p .. ':delayed')
    for _, lane in ipairs(LANES) do held = held + redis.call('XLEN', p .. ':' .. lane) end
    if n > 0 and held + n > limit then return redis.error_reply('FULL ' .. key) end
  end
end

local function schedule(p, lane, jtype, options, payload, due)
  local id = string.format('%011x%05xd-%s', now, anew('INCR', p .. ':seq'), string.match(p, '{(.*)}'))
  redis.call('ZADD', p .. ':delayed', text(due), id) -- first: if it cannot be, no record is left over
  redis.call('HSET', p .. ':job:' .. id, 't', jtype, 'p', payload, 'o', options, 'lane', lane, 'st', 'scheduled',
    'sub', text(now), 'due', text(due), 'n', '0', 'c', '0', 'a', '', 'rp', '0')
  return {id, due}
end

local function add(p, lane, jtype, options, payload)
  if options == '' then return redis.call('XADD', p .. ':' .. lane, '*', 't', jtype, 'p', payload) end
  return redis.call('XADD', p .. ':' .. lane, '*', 't', jtype, 'p', payload, 'o', options)
end

local reply = {now}
local ready, due_first = {}, {}
local i = 3
while i <= total do
  local key = tonumber(ARGV[i + 1])
  local p, lane, jtype, options = KEYS[key], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if ARGV[i] == 'P' then
    local n = tonumber(ARGV[i + 5])
    local stream = p .. ':' .. lane
    if options == '' then
      for k = i + 6, i + 5 + n do reply[#reply + 1] = redis.call('XADD', stream, '*', 't', jtype, 'p', ARGV[k]) end
    else
      for k = i + 6, i + 5 + n do reply[#reply + 1] = redis.call('XADD', stream, '*', 't', jtype, 'p', ARGV[k], 'o', options) end
    end
    ready[p] = true
    i = i + 6 + n
  else
    local idem = ARGV[i + 8]
    local known = idem ~= '' and keyed[ARGV[i + 1] .. ':' .. idem]
    if known and known[2] then
      reply[#reply + 1] = known[2]
    else
      local mode, value = ARGV[i + 6], tonumber(ARGV[i + 7])
      local due = mode == '1' and now + value or value
      local answer, id
      if mode ~= '0' and due > now then
        answer = schedule(p, lane, jtype, options, ARGV[i + 5], due)
        id = answer[1]
        if redis.call('ZRANGE', p .. ':delayed', 0, 0)[1] == id then due_first[p] = true end
      else
        answer = add(p, lane, jtype, options, ARGV[i + 5])
        local ms, seq = string.match(answer, '^(%d+)-(%d+)$')
        id = string.format('%011x%05x%s-%s', tonumber(ms), tonumber(seq), lane, string.match(p, '{(.*)}'))
        ready[p] = true
      end
      reply[#reply + 1] = answer
      if known then
        known[2] = {0, id}
        redis.call('SET', p .. ':idem:' .. idem, ARGV[i + 9] .. ' ' .. id, 'PX', idemttl)
      end
    end
    i = i + 10
  end
end
for p, _ in pairs(ready) do wake(p) end
for p, _ in pairs(due_first) do wake(p, true) end -- an idle worker learns when the next is due
return reply
