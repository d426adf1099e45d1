-- Partitions whose day lies wholly before the cutoff. %(cutoff)s: timestamptz.
-- Result: name (text), oldest first.
SELECT child.relname::text
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'dtq.jobs'::regclass
    AND child.relname ~ '^jobs_[0-9]{8,}$'
    AND to_date(substr(child.relname, 6), 'YYYYMMDD') + 1 <= (%(cutoff)s::timestamptz AT TIME ZONE 'UTC')::date
ORDER BY child.relname
