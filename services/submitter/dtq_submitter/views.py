"""Jobs, queues and schedules as the API writes them. Pure: payloads and results go through unparsed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from dtq.job import Attempt, JobView
from dtq.queue import QueueStats
from dtq.schedule.entry import Entry, History

__all__ = ["job_document", "queue_document", "rfc3339_ms", "schedule_document"]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS = -62_135_596_800_000
_LAST_MS = 253_402_300_799_999


def rfc3339_ms(ms: int | None) -> str | None:
    """An instant in UTC with milliseconds. Beyond the years 1 to 9999, which RFC 3339 ends with, it is the nearest within."""
    if ms is None:
        return None
    return (_EPOCH + timedelta(milliseconds=min(max(ms, _FIRST_MS), _LAST_MS))).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_document(job: JobView) -> dict[str, Any]:
    """A job. Every field is always there; null is: not yet, or none."""
    return {
        "id": job.id,
        "type": job.type,
        "queue": job.queue,
        "state": str(job.state),
        "priority": job.priority,
        "payload": msgspec.Raw(job.payload or b"null"),
        "result": None if job.result is None else msgspec.Raw(job.result),
        "error": job.error,
        "attempts": [_attempt(attempt) for attempt in job.attempts],
        "progress": job.progress,
        "submitted_at": rfc3339_ms(job.submitted),
        "run_at": rfc3339_ms(job.run_at),
        "started_at": rfc3339_ms(job.started),
        "finished_at": rfc3339_ms(job.finished),
        "timeout": job.timeout,
        "max_retries": job.max_retries,
        "replays": job.replays,
        "cancel_requested": job.cancel_requested,
        "schedule": job.schedule,
        "output": None if job.output is None else f"/jobs/{job.id}/output",
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": rfc3339_ms(attempt.started),
        "finished_at": rfc3339_ms(attempt.finished),
        "outcome": attempt.outcome,
        "error": attempt.error,
        "logs": attempt.logs,
    }


def queue_document(stats: QueueStats) -> dict[str, Any]:
    """A queue's numbers; ``demand`` is what autoscaling reads."""
    return {
        "name": stats.name,
        "ready": stats.ready + stats.due,
        "delayed": stats.delayed,
        "running": stats.running,
        "dead": stats.dead,
        "demand": stats.demand,
        "oldest_age_seconds": stats.oldest_age_seconds,
        "paused": stats.paused,
        "workers": stats.workers,
    }


def schedule_document(entry: Entry, history: History | None = None) -> dict[str, Any]:
    """A schedule: name, spec, status and, of a single one, its history."""
    document: dict[str, Any] = {
        "name": entry.name,
        "owner": entry.owner,
        "createdAt": rfc3339_ms(entry.created),
        "spec": entry.spec.model_dump(mode="json"),
        "status": entry.status(),
    }
    if history is not None:
        document["history"] = {
            "events": [{"type": e.type, "reason": e.reason, "message": e.message, "time": rfc3339_ms(e.time)} for e in history.events],
            "succeeded": [_run(run) for run in history.succeeded],
            "failed": [_run(run) for run in history.failed],
        }
    return document


def _run(run: Any) -> dict[str, Any]:
    return {
        "jobId": run.id,
        "state": run.state,
        "scheduledTime": rfc3339_ms(run.tick),
        "finishedTime": rfc3339_ms(run.finished),
    }
