-- cancel: ends a waiting job at once; asks the worker of a running one.
--
-- KEYS  1 "dtq:{QUEUE}"
-- ARGV  1 id, 2 kind of the id, 3 entry id it was first written under, 4 ms a finished job is kept, 5 ms a failed one is
-- Reply the job's state afterwards, or nil when it is not in Redis
--#include common
despite_full_memory(KEYS[1])
return cancel(KEYS[1], ARGV[1], ARGV[2], ARGV[3], clock(), ARGV[4], ARGV[5])
