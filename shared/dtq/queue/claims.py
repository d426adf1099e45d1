"""The queue as workers use it: claim, finish, renew, leave. Each call is one round trip for any number of jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from dtq.errors import InvalidJobId
from dtq.ids import make_id, parse_id
from dtq.job import LANE_PRIORITIES, Attempt
from dtq.queue import keys, scripts
from dtq.queue.connection import Client
from dtq.queue.views import decode_attempts, decode_options
from dtq.queue.wire import Wire

__all__ = ["Claim", "ClaimedJob", "Claims", "Finish", "Finished", "Renewal", "read_box", "read_claim"]


class ClaimedJob(msgspec.Struct, gc=False):
    """A job under this worker's lease. ``lane`` and ``entry`` locate the claim; ``recorded``: it has a history.

    ``defect`` says why the entry cannot be run, if it was damaged in Redis; the job must still be ended.
    """

    id: str
    queue: str
    type: str
    payload: bytes
    lane: str
    entry: str
    submitted: int
    recorded: bool = False
    failures: int = 0
    crashes: int = 0
    history: tuple[Attempt, ...] = ()
    priority: str = "normal"
    timeout: float | None = None
    max_retries: int | None = None
    replays: int = 0
    schedule: str | None = None
    defect: str = ""

    @property
    def attempt(self) -> int:
        """Number of the attempt that this claim is for, from 1; a retry by hand begins anew."""
        return self.failures + self.crashes + 1

    @property
    def number(self) -> int:
        """The same in the job's history, which goes on after a retry by hand, and of which only the latest part is kept."""
        return self.history[-1].number + 1 if self.history else 1


class Claim(msgspec.Struct):
    """What a claim brought. Times in ms by the server's clock; ``next_due`` None when nothing is delayed."""

    now: int
    paused: bool
    next_due: int | None
    jobs: list[ClaimedJob]


class Finish(msgspec.Struct, gc=False):
    """The end of one attempt. ``op``: k terminal, f failed for good, r retry, h hand back (see lua/finish.lua).

    ``text`` is the TerminalJob (k, f) or the Attempt (r) as JSON; ``delay_ms`` is for r.
    """

    job: ClaimedJob
    op: str
    text: bytes = b""
    delay_ms: int = 0


class Finished(msgspec.Struct):
    """What finish did: the outbox entry written, if any, and the positions that were stale or became cancelled.

    ``repeated``: those that had ended by this very ending before, in a call whose answer was lost.
    """

    outbox: str | None
    stale: set[int]
    cancelled: set[int]
    repeated: set[int] = set()


class Renewal(msgspec.Struct):
    """``held`` is False when the lease had run out. ``cancels``: ids of running jobs to be cancelled."""

    held: bool
    cancels: list[str]


class Claims:
    """One worker's dealings with the queues. ``worker`` is a name used for one process's life only.

    Every method raises :class:`dtq.errors.QueueUnavailable` when the server does not answer.
    """

    def __init__(self, client: Client, worker: str, lease_ms: int, result_ms: int, dead_ms: int) -> None:
        """``result_ms`` and ``dead_ms``: how long finished and failed jobs are kept in Redis."""
        self._wire = Wire(client)
        # A connection that waits for replicas serves nothing else meanwhile: claims and leases do not wait with it.
        self._ends = Wire(client) if self._wire.replicas else self._wire
        self.worker = worker
        self._lease_ms = lease_ms
        self._result_ms = result_ms
        self._dead_ms = dead_ms
        self._claim = scripts.load("claim")
        self._finish = scripts.load("finish")
        self._renew = scripts.load("renew")
        self._leave = scripts.load("leave")
        self._retract = scripts.load("retract")

    async def close(self) -> None:
        """Give the connections back."""
        await self._wire.close()
        await self._ends.close()

    def keep_results(self, result_ms: int) -> None:
        """Keep jobs that finish from now on for ``result_ms`` ms."""
        self._result_ms = result_ms

    async def claim(self, queue: str, count: int, *, wait: bool = False) -> Claim:
        """Take up to ``count`` jobs. If there are fewer and ``wait``, the next one may be left in the worker's box."""
        args = [self.worker, count, self._lease_ms, "1" if wait else ""]
        reply = await self._claim.run_by(self._wire.call, [keys.prefix(queue)], args)
        return read_claim(queue, reply)

    async def retract(self, queue: str, *, word: bool = False) -> list[bytes]:
        """Wait no more: nothing is put into the box from now on. Returns what is in it, for :func:`read_box`.

        ``word`` leaves a word in the box, so that a blocking read on it ends.
        """
        found: list[bytes] = await self._retract.run_by(self._wire.call, [keys.prefix(queue)], [self.worker, "1" if word else ""])
        return found

    async def finish(self, queue: str, ends: Sequence[Finish]) -> Finished:
        """End attempts of jobs of one queue. What is no longer this worker's is left as it is, and reported stale.

        It may be called again when the answer was lost: what has ended by it is reported as repeated.
        """
        args: list[Any] = [self.worker, self._result_ms, self._dead_ms]
        for end in ends:
            job = end.job
            extra = end.delay_ms if end.op == "r" else ("1" if job.recorded else "")
            args += (end.op, job.lane, job.entry, job.id, end.text, extra)
        replicas, where = self._ends.replicas, [keys.prefix(queue)]
        if replicas:
            reply = await self._finish.run_confirmed(self._ends.exchange, replicas, where, args)
        else:
            reply = await self._finish.run_by(self._ends.call, where, args)
        odd = dict(zip(reply[2::2], reply[3::2], strict=True))
        stale, repeated, cancelled = ({index for index, what in odd.items() if what == sort} for sort in (0, 1, 2))
        return Finished(reply[1].decode() or None, stale, cancelled, repeated)

    async def renew(self, queue: str) -> Renewal:
        """Keep the claims on one queue."""
        reply = await self._renew.run_by(self._wire.call, [keys.prefix(queue)], [self.worker, self._lease_ms])
        return Renewal(reply[0] == 1, [job_id.decode(errors="replace") for job_id in reply[1:]])

    async def leave(self, queue: str) -> int:
        """Say good-bye to a queue; what is still claimed can be reclaimed at once. Returns how many lanes hold claims."""
        left: int = await self._leave.run_by(self._wire.call, [keys.prefix(queue)], [self.worker])
        return left


def read_claim(queue: str, reply: list[Any]) -> Claim:
    """The claim script's reply as jobs."""
    jobs: list[ClaimedJob] = []
    for position in range(3, len(reply), 2):
        lane = reply[position].decode()
        for entry, fields in reply[position + 1]:
            jobs.append(_job(queue, lane, entry.decode(), fields))
    due = reply[2]
    return Claim(reply[0], reply[1] == 1, None if due < 0 else due, jobs)


def read_box(queue: str, content: bytes) -> ClaimedJob | None:
    """What was found in a worker's box: a job claimed for it, or None for a word to look.

    Raises:
        ValueError: it cannot be read; the job, if it is one, is claimed all the same.
    """
    if not content:
        return None
    try:
        lane, entry, fields = msgspec.json.decode(content, type=tuple[str, str, list[Any]])
    except UnicodeDecodeError:  # a job that somebody damaged: it must come as it is, or it would be given back for ever
        lane, entry, fields = msgspec.convert(json.loads(content.decode(errors="surrogateescape")), tuple[str, str, list[Any]])
    if lane not in LANE_PRIORITIES:
        raise ValueError(f"no lane: {lane[:10]!r}")
    return _job(queue, lane, entry, [_raw(field) for field in fields])


def _raw(field: Any) -> Any:
    """A field as the claim script replies it: bytes, None, or a list of them."""
    if isinstance(field, list):
        return [_raw(item) for item in field]
    return field.encode(errors="surrogateescape") if isinstance(field, str) else None


def _job(queue: str, lane: str, entry: str, fields: list[Any]) -> ClaimedJob:
    count = len(fields or ())
    if count == 4 and fields[0] == b"t":
        try:
            jtype = fields[1].decode()
        except UnicodeDecodeError:
            return _defective(queue, lane, entry, "its type is not UTF-8")
        ms = int(entry.partition("-")[0])
        return ClaimedJob(_id_of(queue, lane, entry), queue, jtype, fields[3], lane, entry, ms, priority=LANE_PRIORITIES[lane])
    if count >= 3 and fields[0] == b"i":
        return _recorded(queue, lane, entry, fields)
    if count == 6 and fields[0] == b"t" and fields[4] == b"o":
        job = _job(queue, lane, entry, fields[:4])
        return _with_options(job, fields[5])
    return _defective(queue, lane, entry, "its stream entry has none of the fields of a job")


def _with_options(job: ClaimedJob, text: bytes) -> ClaimedJob:
    options = decode_options(text)
    timeout, retries, schedule = options.get("timeout"), options.get("max_retries"), options.get("schedule")
    if isinstance(timeout, (int, float)) and timeout > 0:
        job.timeout = float(timeout)
    if isinstance(retries, int):
        job.max_retries = retries
    if isinstance(schedule, str):
        job.schedule = schedule
    return job


def _recorded(queue: str, lane: str, entry: str, fields: list[Any]) -> ClaimedJob:
    try:
        job_id = fields[1].decode()
        jtype, payload, options, failures, crashes, history, submitted, replays, home = fields[2] if len(fields) == 3 else fields[-1]
        job = ClaimedJob(job_id, queue, jtype.decode(), payload, lane, entry, int(submitted), recorded=True)
        job.failures, job.crashes, job.replays = int(failures or 0), int(crashes or 0), int(replays or 0)
        job.history = decode_attempts(history or b"")
        job.priority = LANE_PRIORITIES.get((home or b"n").decode(), "normal")
        return _with_options(job, options or b"")
    except (AttributeError, TypeError, ValueError):
        job = _defective(queue, lane, entry, "its record is missing or damaged")
        job.id, job.recorded = _id_or(fields[1], job.id), True
        return job


def _id_or(raw: Any, default: str) -> str:
    """The id that an entry names, if it is one."""
    try:
        parse_id(raw.decode())
    except (AttributeError, UnicodeDecodeError, InvalidJobId):
        return default
    return str(raw.decode())


def _id_of(queue: str, lane: str, entry: str) -> str:
    """The id of a job that lives in its entry alone. None is made in ``f``: an entry there that is one was put by hand."""
    return make_id(entry, "n" if lane == "f" else lane, queue)


def _defective(queue: str, lane: str, entry: str, why: str) -> ClaimedJob:
    ms = int(entry.partition("-")[0])
    return ClaimedJob(_id_of(queue, lane, entry), queue, "", b"null", lane, entry, ms, defect=why)
