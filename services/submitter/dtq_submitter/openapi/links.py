"""Links of the document: which answer holds what the next request needs."""

from __future__ import annotations

from typing import Any

__all__ = ["add_links"]

_BODY = "$response.body#/"
_PATH = "$request.path."
_OF_A_JOB = ("get_job", "cancel_job", "retry_job", "get_job_output")
_OF_A_SCHEDULE = ("get_schedule", "put_schedule", "trigger_schedule", "delete_schedule")
_OF_A_QUEUE = ("get_queue", "pause_queue", "resume_queue")

_LINKS: tuple[tuple[str, tuple[int, ...], tuple[str, ...], str, str], ...] = (
    ("submit", (200, 202), _OF_A_JOB, "job_id", _BODY + "id"),
    ("submit_batch", (200, 202), _OF_A_JOB, "job_id", _BODY + "jobs/0/id"),
    ("trigger_schedule", (202,), _OF_A_JOB, "job_id", _BODY + "id"),
    ("retry_job", (202,), _OF_A_JOB, "job_id", _BODY + "id"),
    ("cancel_job", (200, 202), ("get_job", "retry_job"), "job_id", _BODY + "id"),
    ("list_jobs", (200,), _OF_A_JOB, "job_id", _BODY + "jobs/0/id"),
    ("list_jobs", (200,), ("list_jobs",), "cursor", _BODY + "next_cursor"),
    ("submit", (202,), _OF_A_QUEUE, "queue", _BODY + "queue"),
    ("pause_queue", (200,), _OF_A_QUEUE, "queue", _BODY + "name"),
    ("list_queues", (200,), _OF_A_QUEUE, "queue", _BODY + "queues/0/name"),
    ("put_schedule", (200, 201), _OF_A_SCHEDULE, "name", _PATH + "name"),
    ("delete_schedule", (204,), ("get_schedule", "put_schedule"), "name", _PATH + "name"),
    ("list_schedules", (200,), _OF_A_SCHEDULE, "name", _BODY + "schedules/0/name"),
    ("list_schedules", (200,), ("list_schedules",), "cursor", _BODY + "next_cursor"),
)
"""From an operation's answers, to operations, by this parameter, with this value."""


def add_links(paths: dict[str, Any]) -> None:
    """Put the links into the operations' answers."""
    operations = {operation["operationId"]: operation for item in paths.values() for operation in item.values()}
    for source, statuses, targets, parameter, value in _LINKS:
        if source not in operations:  # without job types there is nothing to submit
            continue
        for status in statuses:
            links = operations[source]["responses"][str(status)].setdefault("links", {})
            for target in targets:
                links[f"{target}_by_{parameter}"] = {"operationId": target, "parameters": {parameter: value}}
