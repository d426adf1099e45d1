"""Job ids: opaque to users, time-ordered, and leading to the job with one look-up.

Layout: ``<ms:11 hex><seq:5+ hex><kind>-<queue>``. ``ms`` and ``seq`` are the two halves of the Redis stream entry id
under which the job was first written (server time, so ids order by submission), ``kind`` says where a job that has no
record of its own yet lies:

* ``h``, ``n``, ``l`` - in the stream of priority high, normal or low
* ``d`` - submitted with a delay: it has a record
* ``t`` - started by a schedule: ``ms`` is the tick's minute and the rest a digest of the schedule's uid, so that a tick
  can be started only once
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from dtq.errors import InvalidJobId

__all__ = ["ID_PATTERN", "JobId", "is_id", "make_id", "parse_id", "submitted_ms", "tick_id"]

ID_PATTERN = r"([0-9a-f]{11})([0-9a-f]{5,16})([hnldt])-([a-z0-9][a-z0-9._-]{0,62})"
_ID = re.compile(ID_PATTERN, re.ASCII)


class JobId(NamedTuple):
    """The parts of a job id: ``ms`` since the epoch, ``seq`` within it, ``kind`` and ``queue`` name."""

    ms: int
    seq: int
    kind: str
    queue: str

    @property
    def entry(self) -> str:
        """The stream entry id under which a job of kind h, n or l was written."""
        return f"{self.ms}-{self.seq}"


def make_id(entry: str, kind: str, queue: str) -> str:
    """The job id for stream entry ``entry`` ("ms-seq") of ``kind`` in ``queue``."""
    ms, _, seq = entry.partition("-")
    return f"{int(ms):011x}{int(seq):05x}{kind}-{queue}"


def tick_id(uid: str, minute_ms: int, queue: str) -> str:
    """The id of the one job that schedule ``uid`` starts for the tick at ``minute_ms``."""
    digest = hashlib.blake2b(uid.encode(), digest_size=5).hexdigest()
    return f"{minute_ms:011x}{digest}t-{queue}"


def parse_id(job_id: str) -> JobId:
    """Take a job id apart.

    Raises:
        InvalidJobId: the string is not of the form above.
    """
    match = _ID.fullmatch(job_id)
    if match is None:
        raise InvalidJobId(f"{job_id[:80]!r} is not a job id", [("id", "not a job id that DTQ issued")])
    ms, seq, kind, queue = match.groups()
    return JobId(int(ms, 16), int(seq, 16), kind, queue)


def is_id(text: str) -> bool:
    """Whether a string is of the form above."""
    return _ID.fullmatch(text) is not None


def submitted_ms(job_id: str) -> int:
    """Milliseconds since the epoch at which the job was submitted (for a tick: its minute)."""
    return int(job_id[:11], 16)
