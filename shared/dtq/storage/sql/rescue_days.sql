-- Make the partitions that rescue.sql needs. {old}: the detached partition; %(cutoff)s: timestamptz. Result: none.
SELECT dtq.ensure_day(day)
FROM (SELECT DISTINCT (submitted_at AT TIME ZONE 'UTC')::date AS day FROM dtq.{old} WHERE finished_at >= %(cutoff)s) AS days
