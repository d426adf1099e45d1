-- Whether a partition holds a job that finished at the cutoff or later. {part}: its name; %(cutoff)s: timestamptz.
-- Result: one row, a boolean.
SELECT EXISTS (SELECT FROM dtq.{part} WHERE finished_at >= %(cutoff)s)
