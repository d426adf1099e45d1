"""Whether a spec can be carried out: what the definition's own rules cannot know. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dtq.errors import InvalidRequest, InvalidSchedule, UnknownType
from dtq.registry import JobType
from dtq.requests import Requests
from dtq.schedule.spec import JobTemplate, ScheduleSpec, parse_spec
from dtq_operator.nesting import depth

__all__ = ["MAX_DEPTH", "MAX_PAYLOAD", "Accepted", "Acceptor", "Refused", "Verdict"]

MAX_PAYLOAD = 256 * 1024
"""Bytes of a payload as JSON: what ``kubectl apply`` can carry (its annotation's limit), whatever way it came."""

MAX_DEPTH = 100
"""Levels of objects and lists in a payload: parsers of JSON set a limit, of some hundreds or a thousand."""

MAX_MESSAGE = 2000
"""Characters of a message: a condition is to be read by people."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """It can."""

    spec: ScheduleSpec


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot. ``reason`` is InvalidSchedule, UnknownTimeZone, UnknownType, InvalidPayload, or InvalidSpec for the rest."""

    reason: str
    message: str


Verdict = Accepted | Refused

_REASONS = (
    ("schedule", "InvalidSchedule"),
    ("timeZone", "UnknownTimeZone"),
    ("jobTemplate.type", "UnknownType"),
    ("jobTemplate.payload", "InvalidPayload"),
)


class Acceptor:
    """Judges specs by the job types it was given."""

    def __init__(self, types: Mapping[str, JobType]) -> None:
        self._requests = Requests(types)

    def accept(self, spec: Mapping[str, Any]) -> Verdict:
        """The parsed spec, or what is wrong with it."""
        template = spec.get("jobTemplate")
        if isinstance(template, dict) and depth(template.get("payload")) > MAX_DEPTH:
            return Refused("InvalidPayload", f"jobTemplate.payload: is nested more than {MAX_DEPTH} levels deep")
        try:
            parsed = parse_spec(dict(spec))
            self._check_job(parsed.jobTemplate)
        except InvalidSchedule as error:
            return Refused(_reason(error), _short(str(error)))
        except UnknownType as error:
            return Refused("UnknownType", _short(_located(error)))
        except InvalidRequest as error:
            return Refused("InvalidPayload", _short(_located(error)))
        return Accepted(parsed)

    def _check_job(self, template: JobTemplate) -> None:
        payload = msgspec.json.encode(template.payload)
        if len(payload) > MAX_PAYLOAD:
            raise InvalidRequest(
                "too large",
                [
                    (
                        "payload",
                        f"has {len(payload)} bytes, {MAX_PAYLOAD} are allowed; put what is large into the blob store and name its key",
                    )
                ],
            )
        self._requests.parse(b'{"type":%b,"payload":%b}' % (msgspec.json.encode(template.type), payload))


def _reason(error: InvalidSchedule) -> str:
    paths = [path for path, _ in error.errors]
    for start, reason in _REASONS:
        if any(path == start or path.startswith(f"{start}.") for path in paths):
            return reason
    return "InvalidSpec"


def _located(error: InvalidRequest) -> str:
    return "; ".join(f"jobTemplate.{path}: {message}" for path, message in error.errors) or str(error)


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"
