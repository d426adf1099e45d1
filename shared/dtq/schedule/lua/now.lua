-- now: the clock by which schedules are decided. A script, because on a cluster the bare TIME command names no server.
--
-- KEYS  1 "{dtq:schedules}"
-- Reply ms since the epoch
--#include common
return clock()
