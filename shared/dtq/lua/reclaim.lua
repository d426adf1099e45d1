-- reclaim: takes the jobs of workers whose lease ran out, and tidies. Any process may call it at any time.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 most jobs to take, 2 crashes after which a job has failed (worker_lost), 3 ms a finished job is kept,
--       4 ms a failed one is kept, 5 = 1: also look for consumers without a lease, or with an absurd one (only damage leaves them),
--       6 ms since the last call after which nothing is taken for 7 ms (0: always take)
-- Reply {requeued, failed, cancelled, workers removed}. A job taken runs first (lane f); its crash counter goes up, its
--       failure counter does not.
--#include common
local p, budget, crashes = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
despite_full_memory(p)
local resultttl, deadttl = ARGV[3], ARGV[4]
local now = clock()

-- When nobody asked for a while, the server or the network may have stood still: then live workers could not renew
-- either, and get the time to do so before anyone is taken for dead.
local gap = tonumber(ARGV[6])
if gap > 0 then
  local last, grace = string.match(redis.call('GET', p .. ':reclaim') or '', '^(%d+) (%d+)$')
  grace = tonumber(grace or 0)
  if now - tonumber(last or 0) > gap then grace = now + tonumber(ARGV[7]) end
  redis.call('SET', p .. ':reclaim', text(now) .. ' ' .. text(grace), 'PX', 3600000)
  if now < grace then return {0, 0, 0, 0} end
end

local requeued, failed, cancelled, removed = 0, 0, 0, 0

local function take(lane, eid, worker, idle)
  local found = redis.call('XRANGE', p .. ':' .. lane, eid, eid)
  if found[1] then
    local fields = found[1][2]
    local ms, seq = string.match(eid, '^(%d+)-(%d+)$')
    local id = string.format('%011x%05x%s-%s', tonumber(ms), tonumber(seq), lane == 'f' and 'n' or lane, string.match(p, '{(.*)}'))
    local rec
    if fields[1] == 'i' and string.find(fields[2], '^%x+[hnldt]%-%w[%w._-]*$') then
      id = fields[2]
      rec = record(p, id)
      if not rec and not finished(p, id) then rec = record_of_entry(lane, eid, {}) end
    else
      rec = record_of_entry(lane, eid, fields)
    end
    if rec then
      local last = string.match(rec.a or '', '.*{"number":(%d+)') -- of the history only the latest part may be left
      local attempt = '{"number":' .. text(tonumber(last or 0) + 1) .. ',"worker":' .. cjson.encode(worker) ..
        ',"started":' .. text(now - idle) .. ',"finished":' .. text(now) ..
        ',"outcome":"lost","error":{"kind":"worker_lost","message":"the worker stopped renewing its lease"}}'
      rec.a = (rec.a and rec.a ~= '') and rec.a .. ',' .. attempt or attempt
      rec.c = text(tonumber(rec.c or '0') + 1)
      if redis.call('HEXISTS', p .. ':cancel', id) == 1 then
        finish_here(p, id, rec, 'cancelled', now, CANCELLED, resultttl, deadttl)
        cancelled = cancelled + 1
      elseif tonumber(rec.c) >= crashes then
        local err = '{"kind":"worker_lost","message":"its worker died ' .. rec.c .. ' times while running it"}'
        finish_here(p, id, rec, 'failed', now, err, resultttl, deadttl)
        failed = failed + 1
      else
        save(p, id, rec)
        enqueue(p, id, 'f')
        requeued = requeued + 1
      end
    end
  end
  redis.call('XACK', p .. ':' .. lane, GROUP, eid)
  redis.call('XDEL', p .. ':' .. lane, eid)
end

if ARGV[5] == '1' then
  -- No lease is longer than an hour (LEASESECONDS): one that ends later was put there by hand, or the server's clock was set
  -- back. A worker that lives renews it at once; any other would keep for good what is claimed for it.
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', p .. ':workers', text(now + 3660000), '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', p .. ':workers', text(now + 10000), worker)
    redis.call('ZREM', p .. ':idle', worker)
  end
  for _, lane in ipairs(LANES) do
    local consumers = redis.pcall('XINFO', 'CONSUMERS', p .. ':' .. lane, GROUP)
    if not consumers.err then
      for _, flat in ipairs(consumers) do
        local name = pairs_of(flat).name
        if not redis.call('ZSCORE', p .. ':workers', name) then redis.call('ZADD', p .. ':workers', '0', name) end
      end
    end
  end
  redis.call('ZREMRANGEBYSCORE', p .. ':dead', '-inf', text(now - tonumber(deadttl)))
end

for _, worker in ipairs(redis.call('ZRANGEBYSCORE', p .. ':workers', '-inf', text(now), 'LIMIT', 0, 16)) do
  for _, lane in ipairs(LANES) do
    if budget > 0 then
      local pending = redis.pcall('XPENDING', p .. ':' .. lane, GROUP, '-', '+', budget, worker)
      if not pending.err then
        for _, item in ipairs(pending) do take(lane, item[1], worker, tonumber(item[3])) end
        budget = budget - #pending
      end
    end
  end
  if budget > 0 then
    for _, lane in ipairs(LANES) do redis.pcall('XGROUP', 'DELCONSUMER', p .. ':' .. lane, GROUP, worker) end
    redis.call('ZREM', p .. ':workers', worker)
    redis.call('ZREM', p .. ':idle', worker)
    redis.call('DEL', p .. ':box:' .. worker)
    removed = removed + 1
  end
end
if requeued > 0 then wake(p) end
return {requeued, failed, cancelled, removed}
