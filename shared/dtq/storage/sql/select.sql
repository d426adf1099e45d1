-- Read finished jobs, newest first.
-- {conditions}: the predicates of the look-up, each with its own named parameters; %(limit)s: rows at most.
-- Result: the fields of TerminalJob in the order of rows.FIELDS; JSON as text, times in ms since 1970.
SELECT
    id, queue, type, state,
    (extract(epoch FROM submitted_at) * 1000)::bigint,
    (extract(epoch FROM finished_at) * 1000)::bigint,
    replays, payload::text,
    (extract(epoch FROM started_at) * 1000)::bigint,
    result::text, error::text, attempts::text, priority, timeout, max_retries, output, schedule
FROM dtq.jobs
WHERE {conditions}
ORDER BY submitted_at DESC, id DESC
LIMIT %(limit)s
