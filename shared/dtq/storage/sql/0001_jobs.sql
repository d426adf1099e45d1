-- Migration 0001: the table of finished jobs and its partitions.
-- Contract: creates dtq.jobs, dtq.ensure_day(day). Runs in one transaction; the schema dtq exists.

-- json and not jsonb: it is cheaper to store, keeps the text as it was sent, and takes \u0000 and lone surrogates.
-- id compares by bytes: fast, and it sorts by submission.
CREATE TABLE dtq.jobs (
    id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    queue text NOT NULL,
    state text NOT NULL,
    payload json NOT NULL,
    result json,
    error json,
    attempts json NOT NULL,
    priority text NOT NULL,
    timeout double precision,
    max_retries integer,
    replays integer NOT NULL DEFAULT 0,
    output text,
    schedule text,
    submitted_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz NOT NULL,
    PRIMARY KEY (submitted_at, id),
    CONSTRAINT jobs_state_is_terminal CHECK (state IN ('succeeded', 'failed', 'cancelled')),
    CONSTRAINT jobs_success_has_no_error CHECK (state <> 'succeeded' OR error IS NULL),
    CONSTRAINT jobs_replays_not_negative CHECK (replays >= 0)
) PARTITION BY RANGE (submitted_at);

-- Newest first by type or queue. The id is left out, so that jobs of one millisecond share an index entry: half the
-- size and less work for each insert; the few ties are sorted when a page is read.
CREATE INDEX jobs_by_type ON dtq.jobs (type, submitted_at);
CREATE INDEX jobs_by_queue ON dtq.jobs (queue, submitted_at);
-- Nearly every job succeeds: listing those walks the primary key, and they pay nothing for this index.
CREATE INDEX jobs_not_succeeded ON dtq.jobs (state, submitted_at) WHERE state <> 'succeeded';

COMMENT ON TABLE dtq.jobs IS 'Finished jobs, one row each, partitioned by the UTC day of submission. A job that has not finished has no row.';
COMMENT ON COLUMN dtq.jobs.id IS 'Job id as the API returns it. Its first 11 hex digits are submitted_at in ms: give both to find a row quickly.';
COMMENT ON COLUMN dtq.jobs.type IS 'Job type, such as http_request.';
COMMENT ON COLUMN dtq.jobs.queue IS 'Queue the job was submitted to.';
COMMENT ON COLUMN dtq.jobs.state IS 'succeeded, failed or cancelled.';
COMMENT ON COLUMN dtq.jobs.payload IS 'Input as submitted. Not jsonb: payload::jsonb fails for texts with \u0000.';
COMMENT ON COLUMN dtq.jobs.result IS 'What the handler returned; NULL when it did not succeed.';
COMMENT ON COLUMN dtq.jobs.error IS 'Why it did not succeed: {"kind", "message", "type", "traceback"}; kind is error, permanent, timeout, worker_lost, unknown_type, invalid_payload or cancelled.';
COMMENT ON COLUMN dtq.jobs.attempts IS 'Array of executions: {"number", "worker", "started", "finished", "outcome", "error", "logs"}, times in ms since 1970.';
COMMENT ON COLUMN dtq.jobs.priority IS 'high, normal or low.';
COMMENT ON COLUMN dtq.jobs.timeout IS 'Seconds one attempt may take; NULL: the worker''s setting.';
COMMENT ON COLUMN dtq.jobs.max_retries IS 'Attempts after the first; NULL: the worker''s setting.';
COMMENT ON COLUMN dtq.jobs.replays IS 'How often a user has sent the finished job back to its queue; the row shows the last run.';
COMMENT ON COLUMN dtq.jobs.output IS 'Key, in the blob store, of the file the job produced.';
COMMENT ON COLUMN dtq.jobs.schedule IS 'Name of the schedule that started the job; NULL: it was submitted.';
COMMENT ON COLUMN dtq.jobs.submitted_at IS 'When the job was submitted; for a job of a schedule, the minute of its tick. The partition key.';
COMMENT ON COLUMN dtq.jobs.started_at IS 'Start of the last attempt; NULL: it never started.';
COMMENT ON COLUMN dtq.jobs.finished_at IS 'When the job reached its state.';

-- Make the partition of a UTC day unless it exists. Any number of sessions may call it at once: the lock (key "dtqp")
-- lets one in, and those who waited see its work. Attaching a table, unlike CREATE ... PARTITION OF, blocks neither
-- readers nor writers of dtq.jobs.
CREATE FUNCTION dtq.ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    part text := 'jobs_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass('dtq.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(1685352816);
    -- Not by to_regclass, which may remember that there was no such table.
    PERFORM FROM pg_class WHERE relnamespace = 'dtq'::regnamespace AND relname = part;
    IF FOUND THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE dtq.%I (LIKE dtq.jobs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
    EXECUTE format(
        'ALTER TABLE dtq.jobs ATTACH PARTITION dtq.%I FOR VALUES FROM (%L) TO (%L)',
        part, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
    );
END
$$;
COMMENT ON FUNCTION dtq.ensure_day(date) IS 'Makes the partition of dtq.jobs for a UTC day, unless it exists.';
