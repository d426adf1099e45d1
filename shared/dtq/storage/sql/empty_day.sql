-- Delete, from a partition that has to stay, what finished before the cutoff. {part}: its name; %(cutoff)s: timestamptz.
-- Result: none; the row count is that of deleted rows.
DELETE FROM dtq.{part} WHERE finished_at < %(cutoff)s
