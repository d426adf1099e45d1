-- resume: hands out jobs of a paused queue again.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  none
-- Reply 1
--#include common
local p = KEYS[1]
redis.call('DEL', p .. ':paused')
wake(p)
return 1
