-- Make the partitions of some days. %(days)s: date[] of UTC days. Result: none.
SELECT dtq.ensure_day(day) FROM unnest(%(days)s::date[]) AS days (day) ORDER BY day
