"""The error answers: what each status means here, with an example and its headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from dtq_submitter.problems import MEDIA_TYPE, Problem

__all__ = ["problem_answer"]


@dataclass(frozen=True, slots=True)
class _Case:
    """What a status means, and a problem that has it."""

    meaning: str
    example: Problem
    path: str = "/jobs"


_JOB = "/jobs/0193f0c2a1b00000n-default"
_CASES = (
    _Case(
        "The body is not JSON, or the request not HTTP.",
        Problem(400, "malformed-json", "the body is not JSON: Input data was truncated"),
        "/submit",
    ),
    _Case("No API key, or an unknown one.", Problem(401, "unauthorized", "an API key is needed: send Authorization: Bearer KEY")),
    _Case(
        "The API key lacks the role, or the request came by another site's page or name.",
        Problem(403, "forbidden", "this needs the role admin; key 'grafana' has read"),
        _JOB,
    ),
    _Case("There is none.", Problem(404, "not-found", "there is no schedule 'nightly-report'"), "/schedules/nightly-report"),
    _Case("Not to this operation, but to another method on its path.", Problem(405, "wrong-method", "this path takes GET")),
    _Case(
        "The request did not come in time (REQUESTSECONDS).",
        Problem(408, "body-timeout", "the body of the request did not come within 30 s"),
        "/submit",
    ),
    _Case(
        "The present state, or an earlier request, contradicts it.",
        Problem(409, "illegal-transition", "the job has already succeeded", extra={"state": "succeeded"}),
        _JOB,
    ),
    _Case("The body is larger than MAXBODYBYTES.", Problem(413, "too-large", "the body is larger than 10485760 bytes"), "/submit"),
    _Case("The URL is too long.", Problem(414, "url-too-long", "the URL is longer than 8192 bytes")),
    _Case(
        "The body's media type or encoding is not JSON's.",
        Problem(415, "unsupported-media-type", "send JSON with Content-Type: application/json"),
        "/submit",
    ),
    _Case(
        "A field or parameter is wrong; each is named.",
        Problem(422, "invalid-request", "state: unknown state 'done'", [("state", "unknown state 'done'")]),
    ),
    _Case("Too much at once.", Problem(429, "queue-full", "queue 'default' is full; send it again in 5 s"), "/submit"),
    _Case("The headers are too large, or too many.", Problem(431, "head-too-large", "there are more than 100 headers")),
    _Case(
        "The server failed, or somebody damaged the queue's keys in Redis.",
        Problem(500, "internal", "the server failed to handle this request; its log says why"),
    ),
    _Case(
        "A server behind it does not answer, or too many connections are open.",
        Problem(503, "unavailable", "the storage behind this request does not answer; try again"),
    ),
)
_BY_STATUS = {case.example.status: case for case in _CASES}


def _header(name: str, description: str, kind: str = "string") -> dict[str, Any]:
    return {name: {"description": description, "schema": {"type": kind}}}


_RETRY_AFTER = _header("Retry-After", "Seconds to wait before trying again.", "integer")
_HEADERS: dict[int, dict[str, Any]] = {
    401: _header("WWW-Authenticate", "The scheme Bearer."),
    405: _header("Allow", "The methods that the path takes."),
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def problem_answer(status: int) -> dict[str, Any]:
    """The Response Object of an error."""
    case = _BY_STATUS[status]
    example = msgspec.json.decode(case.example.body(case.path))
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
    return {"description": case.meaning, **headers, "content": content}
