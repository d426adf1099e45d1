-- Store a batch of finished jobs; a job that has a row already replaces it only with more replays.
-- Parameters ($1..$17, text): a column each, its values joined by the byte 0x1f, which valid JSON never holds raw and
-- plain texts are checked for; numbers as array literals. An empty value is NULL in result, output and schedule,
-- the value null in error; those four may be empty as a whole. Times are ms since 1970.
-- Splitting joined texts is much cheaper, for the client, than encoding each value of an array.
-- Result: none; the row count is that of rows inserted or replaced. No id may occur twice in a batch.
INSERT INTO dtq.jobs (
    id, type, queue, state, payload, result, error, attempts, priority, timeout, max_retries, replays,
    output, schedule, submitted_at, started_at, finished_at
)
SELECT
    id, type, queue, state, payload::json, result::json, error::json, attempts::json, priority, timeout, max_retries, replays,
    output, schedule, to_timestamp(submitted / 1000.0), to_timestamp(started / 1000.0), to_timestamp(finished / 1000.0)
FROM unnest(
    string_to_array(%b, E'\x1f'),
    string_to_array(%b, E'\x1f'),
    string_to_array(%b, E'\x1f'),
    string_to_array(%b, E'\x1f'),
    string_to_array(%b, E'\x1f'),
    string_to_array(%b, E'\x1f', ''),
    string_to_array(%b, E'\x1f', 'null'),
    string_to_array(%b, E'\x1f'),
    string_to_array(%b, E'\x1f'),
    (%b)::text::double precision[],
    (%b)::text::integer[],
    (%b)::text::integer[],
    string_to_array(%b, E'\x1f', ''),
    string_to_array(%b, E'\x1f', ''),
    (%b)::text::double precision[],
    (%b)::text::double precision[],
    (%b)::text::double precision[]
) AS batch (
    id, type, queue, state, payload, result, error, attempts, priority, timeout, max_retries, replays,
    output, schedule, submitted, started, finished
)
ON CONFLICT (submitted_at, id) DO UPDATE SET
    type = EXCLUDED.type,
    queue = EXCLUDED.queue,
    state = EXCLUDED.state,
    payload = EXCLUDED.payload,
    result = EXCLUDED.result,
    error = EXCLUDED.error,
    attempts = EXCLUDED.attempts,
    priority = EXCLUDED.priority,
    timeout = EXCLUDED.timeout,
    max_retries = EXCLUDED.max_retries,
    replays = EXCLUDED.replays,
    output = EXCLUDED.output,
    schedule = EXCLUDED.schedule,
    started_at = EXCLUDED.started_at,
    finished_at = EXCLUDED.finished_at
WHERE jobs.replays < EXCLUDED.replays
