-- Partitions that an interrupted clean-up has detached but not dropped.
-- Result: name (text).
SELECT relname::text
FROM pg_class
WHERE relnamespace = 'dtq'::regnamespace AND relkind = 'r' AND relname ~ '^jobs_[0-9]{8,}_old$'
