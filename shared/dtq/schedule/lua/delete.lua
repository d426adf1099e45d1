-- delete: removes a schedule. Its runs go on.
--
-- KEYS  1 "{dtq:schedules}"
-- ARGV  1 name, 2 uid ('' any), 3 owner ('' the API; '*' any)
-- Reply {outcome, detail, entry (flat)}: deleted; absent; owned (detail: by whom)
--#include common
local key = p .. ':e:' .. ARGV[1]
local cur = redis.call('HMGET', key, 'uid', 'owner')
if not cur[1] or (ARGV[2] ~= '' and ARGV[2] ~= cur[1]) then return {'absent', '', {}} end
if ARGV[3] ~= '*' and ARGV[3] ~= cur[2] then return {'owned', cur[2], {}} end
local flat = redis.call('HGETALL', key)
remove(ARGV[1])
return {'deleted', '', flat}
