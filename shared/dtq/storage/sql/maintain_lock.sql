-- Let one session at a time maintain the table (key "dtqm"); the lock ends with the transaction.
-- Result: one row, true when we have it.
SELECT pg_try_advisory_xact_lock(1685352813)
