"""Between :class:`TerminalJob` and the parameters and results of the SQL statements. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from dtq.job import Attempt, JobError, State, TerminalJob

__all__ = ["OddRow", "Utf8", "Utf8Dumper", "chunks", "columns", "distinct", "to_job", "too_large"]

SEPARATOR = b"\x1f"
CHUNK_ROWS = 2000
CHUNK_BYTES = 16 * 1024 * 1024
"""A statement takes so many rows, or fewer when their texts are larger than this; one row may be larger alone."""

TEXT_OID = 25
_encode = msgspec.json.Encoder()
_decode_error = msgspec.json.Decoder(JobError)
_decode_attempts = msgspec.json.Decoder(list[Attempt])


class OddRow(ValueError):
    """A batch holds a text that cannot be stored as it is."""


class Utf8:
    """Bytes that PostgreSQL shall read as text."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


NOTHING = Utf8(b"")
"""A column of NULLs: no values, which unnest fills up."""


class Utf8Dumper(Dumper):
    """Hands :class:`Utf8` over untouched."""

    oid = TEXT_OID
    format = Format.BINARY

    def dump(self, obj: Utf8) -> Buffer | None:
        """The bytes themselves: the binary form of text is the text."""
        return obj.text


def distinct(rows: Sequence[TerminalJob]) -> list[TerminalJob]:
    """The rows by ascending id, of each id only the first with the most replays.

    The order keeps sessions that insert the same rows from deadlock.
    """
    by_id = {row.id: row for row in rows}
    if len(by_id) < len(rows):
        for row in reversed(rows):
            if row.replays >= by_id[row.id].replays:
                by_id[row.id] = row
    return [by_id[job_id] for job_id in sorted(by_id)]


def chunks(rows: Sequence[TerminalJob]) -> Iterator[Sequence[TerminalJob]]:
    """Cut a batch into as many rows as one statement takes."""
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]


def too_large(params: Sequence[Utf8]) -> bool:
    """Whether the parameters of several rows are more than one statement should carry."""
    return sum([len(param.text) for param in params]) > CHUNK_BYTES


def columns(rows: Sequence[TerminalJob]) -> list[Utf8]:
    """The parameters of insert.sql.

    Raises:
        OddRow: a text holds the separator or cannot be encoded, or an id is not one.
    """
    try:
        return [
            _texts([row.id for row in rows]),
            _texts([row.type for row in rows]),
            _texts([row.queue for row in rows]),
            _texts([row.state for row in rows]),
            _joined([row.payload for row in rows]),
            _joined([b"" if row.result is None else row.result for row in rows]),
            _jsons([row.error for row in rows]) if any(row.error for row in rows) else NOTHING,
            _jsons([row.attempts for row in rows]),
            _texts([row.priority for row in rows]),
            _numbers([row.timeout for row in rows]),
            _numbers([row.max_retries for row in rows]),
            _numbers([row.replays for row in rows]),
            _optional([row.output for row in rows]),
            _optional([row.schedule for row in rows]),
            _numbers([int(row.id[:11], 16) for row in rows]),  # dtq.ids.submitted_ms, without a call for each row
            _numbers([row.started for row in rows]),
            _numbers([row.finished for row in rows]),
        ]
    except ValueError as error:  # an id that is none, a lone surrogate, the separator
        raise OddRow(str(error)) from error


def _joined(values: Sequence[Buffer]) -> Utf8:
    joined = SEPARATOR.join(values)
    if joined.count(SEPARATOR) != len(values) - 1:
        raise OddRow("a text holds the character U+001F")
    return Utf8(joined)


def _texts(values: Sequence[str]) -> Utf8:
    joined = "\x1f".join(values).encode()
    if joined.count(SEPARATOR) != len(values) - 1:
        raise OddRow("a text holds the character U+001F")
    return Utf8(joined)


def _optional(values: Sequence[str | None]) -> Utf8:
    return _texts([value or "" for value in values]) if any(values) else NOTHING


def _jsons(values: Sequence[object]) -> Utf8:
    # One call for the column; the encoder escapes control characters, so that line ends only end values.
    return Utf8(_encode.encode_lines(values)[:-1].replace(b"\n", SEPARATOR))


def _numbers(values: Sequence[float | None]) -> Utf8:
    return Utf8(f"{{{str(values)[1:-1].replace('None', 'NULL')}}}".encode())


def to_job(row: Sequence[Any]) -> TerminalJob:
    """A result row of select.sql as a record."""
    job_id, queue, job_type, state, submitted, finished, replays, payload, started, result, error, attempts, *rest = row
    priority, timeout, max_retries, output, schedule = rest
    return TerminalJob(
        id=job_id,
        queue=queue,
        type=job_type,
        state=State(state),
        submitted=submitted,
        finished=finished,
        replays=replays,
        payload=msgspec.Raw(payload),
        started=started,
        result=None if result is None else msgspec.Raw(result),
        error=None if error is None else _decode_error.decode(error),
        attempts=_decode_attempts.decode(attempts),
        priority=priority,
        timeout=timeout,
        max_retries=max_retries,
        output=output,
        schedule=schedule,
    )
