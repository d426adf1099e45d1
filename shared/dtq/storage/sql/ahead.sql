-- Make the partitions of today and the next days, by the server's clock. %(days)s: how many days ahead. Result: none.
SELECT dtq.ensure_day(today + ahead)
FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock, generate_series(0, %(days)s::int) AS ahead
ORDER BY ahead
