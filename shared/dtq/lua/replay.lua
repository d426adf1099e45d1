-- replay: puts a failed or cancelled job back into its queue, under its own id.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 id, 2 lane, 3 type, 4 payload, 5 options, 6 submit time ms, 7 replays so far, 8 history
-- Reply 'queued'; or the state that stands in the way ('live', or the state of a newer run)
--#include common
local p, id = KEYS[1], ARGV[1]
if redis.call('EXISTS', p .. ':job:' .. id) == 1 then return 'live' end
local done = finished(p, id)
if done then
  local state, _, replays = head_of(done)
  if state and (state ~= 'failed' and state ~= 'cancelled' or replays ~= ARGV[7]) then return state end
end
forget(p, id)
redis.call('ZREM', p .. ':dead', id)
save(p, id, {t = ARGV[3], p = ARGV[4], o = ARGV[5], lane = ARGV[2], sub = ARGV[6], n = '0', c = '0', a = ARGV[8],
  rp = text(tonumber(ARGV[7]) + 1)})
enqueue(p, id, ARGV[2])
wake(p)
return 'queued'
