-- lookup: what Redis knows of one job.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 id, 2 kind of the id, 3 entry id it was first written under
-- Reply nil | {'done', TerminalJob JSON} | {'live', now, record as a flat list, lane, entry id, worker, idle ms,
--       cancel asked 0|1, progress JSON or ''}; worker and progress '' unless it runs; the record of a job that lives in its entry alone is made up
--#include common
local p, id, lane, eid = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local done = finished(p, id)
if done then return {'done', done} end
local rec = redis.pcall('HGETALL', p .. ':job:' .. id) -- an error has no length: it was written over
if #rec > 0 then
  lane, eid = string.match(pairs_of(rec).e or '', '^(%a):(.*)$')
elseif lane == 'h' or lane == 'n' or lane == 'l' then
  local found = redis.call('XRANGE', p .. ':' .. lane, eid, eid)
  if not found[1] then return nil end
  for k, v in pairs(record_of_entry(lane, eid, found[1][2])) do rec[#rec + 1] = k; rec[#rec + 1] = v end
else
  return nil
end
local pending = lane and is_pending(p, lane, eid)
return {'live', clock(), rec, lane or '', eid or '', pending and pending[2] or '', pending and pending[3] or 0,
  redis.call('HEXISTS', p .. ':cancel', id), pending and redis.call('GET', p .. ':progress:' .. id) or ''}
