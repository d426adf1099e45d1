-- Put back what a detached partition received between the look at it and its detachment.
-- {old}: its name; %(cutoff)s: timestamptz. The partitions for these rows exist.
-- Result: none; the row count is that of rescued rows.
INSERT INTO dtq.jobs SELECT * FROM dtq.{old} WHERE finished_at >= %(cutoff)s ON CONFLICT (submitted_at, id) DO NOTHING
