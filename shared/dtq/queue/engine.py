"""The queue as submitters, schedulers and operators use it. Workers claim through :mod:`dtq.queue.claims`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from redis.exceptions import NoScriptError, ResponseError

from dtq.config import QUEUE_NAME, Settings
from dtq.errors import IdempotencyConflict, IllegalTransition, InvalidRequest, QueueDamaged, QueueFull, QueueUnavailable
from dtq.ids import is_id, make_id, parse_id, tick_id
from dtq.job import PRIORITIES, JobView, NewJob, State, TerminalJob
from dtq.queue import keys, scripts, views
from dtq.queue.connection import Client, ask_each, connect, exchange, is_cluster, replicas_of, translated
from dtq.queue.damage import damage_of
from dtq.queue.encode import options_json, submit_arguments
from dtq.queue.kept import keep_no_longer
from dtq.queue.live import LiveFilter, list_live
from dtq.queue.replicas import WAIT_MS, settled, too_few

__all__ = ["MAX_CRASHES", "SUBMIT_CHUNK", "Batch", "FireTick", "Fired", "Queue", "QueueStats", "Reclaimed", "Run", "Submitted"]

MAX_CRASHES = 3
"""A job that was running when its worker died so many times has failed: it is probably what kills them."""

HISTORY = 20
"""Past attempts that a replayed job takes along."""

AT_ONCE = 32
"""Calls under way at once for one question about many queues: each takes a connection."""

KNOWN_SECONDS = 5.0
"""For how long a queue that was registered is not registered again. A failover can take its name away."""

SUBMIT_CHUNK = 1000
"""Jobs per submit script: it blocks the server for about 2 ms, and stays within Lua's limits."""


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """What became of a submission. ``created`` is False for the repeat of an idempotent request; ``run_at`` is in ms."""

    id: str
    state: State
    created: bool = True
    run_at: int | None = None


class Batch(msgspec.Struct, frozen=True):
    """At most 1,000 jobs as the submit script takes them."""

    jobs: Sequence[NewJob]
    names: list[str]
    args: list[Any]

    def submitted(self, answers: list[Any]) -> list[Submitted]:
        """What became of each job, from what the script answered."""
        return [_submitted(job, answer) for job, answer in zip(self.jobs, answers, strict=True)]


CLUSTER_LATE = "REDISADDR is a cluster, which was away at the start: this process must be restarted"


class QueueStats(msgspec.Struct, frozen=True):
    """Numbers of one queue. ``oldest_age_seconds`` is how long the longest waiting ready job has been ready."""

    name: str
    ready: int
    due: int
    delayed: int
    running: int
    dead: int
    oldest_age_seconds: float
    paused: bool
    workers: int
    outbox: int

    @property
    def demand(self) -> int:
        """Jobs that need a worker now, running ones included: what autoscaling reads."""
        return self.ready + self.due + self.running


class Reclaimed(msgspec.Struct, frozen=True):
    """What one call of reclaim did: jobs requeued, failed as worker_lost, cancelled; workers removed."""

    requeued: int
    failed: int
    cancelled: int
    workers: int


class FireTick(msgspec.Struct, frozen=True):
    """A schedule's wish to run ``job`` for the tick at ``minute_ms``; 0 asks for a run by hand, outside any policy."""

    uid: str
    name: str
    minute_ms: int
    policy: str
    job: NewJob


class Fired(msgspec.Struct, frozen=True):
    """``outcome`` is started, duplicate (this tick ran before) or active (Forbid). ``active``: live runs afterwards."""

    outcome: str
    id: str | None
    active: list[str]


class Run(msgspec.Struct, frozen=True):
    """A run of a schedule. ``state`` is live, succeeded, failed, cancelled or gone; times in ms."""

    id: str
    tick_ms: int
    state: str
    finished_ms: int


class Queue:
    """All queues in one Redis or Valkey.

    Every method raises :class:`dtq.errors.QueueUnavailable` when the server does not answer or refuses writes, and one about
    a queue :class:`dtq.errors.QueueDamaged` when a key of it is not what it should be.
    """

    def __init__(self, client: Client, settings: Settings, *, cluster: bool = False) -> None:
        """Use ``client``; normally called by :meth:`connect`."""
        self.client = client
        self.settings = settings
        self.cluster = cluster
        self._unsure = self._misjudged = False
        self._known: dict[str, float] = {}
        self._ttls = (settings.resultttl * 1000, settings.deadttl * 1000)

    @classmethod
    async def connect(cls, settings: Settings, *, connections: int = 64) -> Queue:
        """A queue on the server at REDISADDR; a server that is away is connected to when used.

        One that is away is taken for a single server. Should it prove to be a cluster, :meth:`problem` says so.
        """
        client = await connect(settings.redis_url, cluster=False, connections=connections, replicas=settings.waitreplicas)
        try:
            cluster = await is_cluster(client)
            if cluster:
                single = client
                client = await connect(settings.redis_url, cluster=True, connections=connections, replicas=settings.waitreplicas)
                await single.aclose()
        except QueueUnavailable:
            queue = cls(client, settings)
            queue._unsure = True
            return queue
        return cls(client, settings, cluster=cluster)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def ping(self) -> None:
        """Return when the server answers."""
        if self._unsure:
            self._misjudged = await is_cluster(self.client)
            self._unsure = self._misjudged
        if self._misjudged:
            raise QueueUnavailable(CLUSTER_LATE)
        with translated():
            await self.client.ping()

    def problem(self) -> str | None:
        """Why the process should be restarted, None if it should not. Found out by :meth:`ping`."""
        return CLUSTER_LATE if self._misjudged else None

    async def _run(self, name: str, queue: str, *args: Any) -> Any:
        return await scripts.load(name).run(self.client, [keys.prefix(queue)], list(args))

    # ------------------------------------------------------------------ submit

    async def submit(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        """Put jobs into their queues: all of them or, when an error is raised, none.

        At most 1,000 jobs a call are all-or-nothing; more are sent in several calls.

        Raises:
            QueueFull: a queue would exceed MAXQUEUELENGTH.
            QueueDamaged: a key of a queue is not what it should be.
            IdempotencyConflict: a key was used before with another digest.
            InvalidRequest: on a cluster, the jobs name several queues.
        """
        if len(jobs) > SUBMIT_CHUNK:
            done: list[Submitted] = []
            for start in range(0, len(jobs), SUBMIT_CHUNK):
                done += await self.submit(jobs[start : start + SUBMIT_CHUNK])
            return done
        if not jobs:
            return []
        batch = self.batch(jobs)
        return batch.submitted(await self.send(batch))

    def batch(self, jobs: Sequence[NewJob]) -> Batch:
        """Jobs made ready for :meth:`send`: what a bulk submitter does while the batch before is on its way."""
        return Batch(jobs, *submit_arguments(jobs, self.settings.maxqueuelength, self.settings.idempotencyttl * 1000))

    async def send(self, batch: Batch) -> list[Any]:
        """Submit a batch; the answers are for :meth:`Batch.submitted`. Raises as :meth:`submit`."""
        self._check_slot(batch.names)
        await self._register(batch.names)
        reserved = await self._reserve(batch.jobs)
        return await self._put(batch, scripts.load("submit").run(self.client, batch.names, batch.args), reserved)

    def takes_one_call(self, batch: Batch) -> bool:
        """Whether :meth:`put` will do for a batch: no queue is to be registered, no key to be bound, no replica to be waited for."""
        if self.cluster or replicas_of(self.client):
            return False
        now, known = time.monotonic(), self._known
        return all(known.get(name, 0.0) > now for name in batch.names) and all(job.idempotency_key is None for job in batch.jobs)

    async def put(self, batch: Batch, call: Callable[..., Awaitable[Any]]) -> list[Any]:
        """:meth:`send` through ``call(*command)``, for a batch that takes one call."""
        return await self._put(batch, scripts.load("submit").run_by(call, batch.names, batch.args))

    async def _put(self, batch: Batch, submission: Awaitable[Any], reserved: Sequence[str] = ()) -> list[Any]:
        """The answers of the submit script; if it refuses, the keys ``reserved`` for it are free again."""
        try:
            reply = await submission
        except ResponseError as error:
            await self._release(reserved)
            raise _refusal(error, batch.names) from error
        return list(reply[1:])

    def _check_slot(self, names: list[str]) -> None:
        """Refuse what a cluster cannot write as one."""
        if self.cluster and len(names) > 1:
            raise InvalidRequest(
                "jobs of one batch must name one queue: this server is a cluster",
                [("queue", "use one queue in a batch, or send one batch a queue")],
            )

    async def _register(self, prefixes: Sequence[str]) -> None:
        """Have the queues of these prefixes in the set of all: nobody promotes, reclaims or stores anything of one that is not there."""
        now = time.monotonic()
        fresh = [prefix for prefix in prefixes if self._known.get(prefix, 0.0) <= now]
        if fresh:
            command = ("SADD", keys.QUEUES, *map(keys.queue_of, fresh))
            try:
                await settled(self.client, keys.QUEUES_SLOT, command)
            except QueueDamaged:  # the names are lost, and come back with their next jobs
                with translated():
                    await self.client.delete(keys.QUEUES)
                await settled(self.client, keys.QUEUES_SLOT, command)
            self._known |= dict.fromkeys(fresh, now + KNOWN_SECONDS)

    async def _reserve(self, jobs: Sequence[NewJob]) -> list[str]:
        """Bind idempotency keys to one queue and body, whichever slot they are in; the submit script does the rest.

        Returns the Redis keys that are new: they have to go again if the batch is refused.
        """
        keyed = [(index, job) for index, job in enumerate(jobs) if job.idempotency_key is not None]
        if not keyed:
            return []
        bindings = [(keys.idempotency(str(job.idempotency_key)), f"{job.queue} {job.digest}".encode()) for _, job in keyed]
        try:
            replies = await self._bind(bindings)
        except QueueDamaged:
            await self._forget_odd([key for key, _ in bindings])
            replies = await self._bind(bindings)
        answers = list(zip(keyed, bindings, replies, strict=True))
        fresh = [key for _, (key, _), known in answers if known is None]
        for (index, _), (_, mine), known in answers:
            if known is not None and known != mine:
                await self._release(fresh)
                raise IdempotencyConflict("this idempotency key was used with another body", index)
        if self.cluster and replicas_of(self.client):
            await self._settle_bindings([key for key, _ in bindings])
        return fresh

    async def _bind(self, bindings: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """What the keys were bound to before; those that were not are now."""
        with translated(keys.IDEMPOTENCY):
            pipe = self.client.pipeline(transaction=False)
            for key, mine in bindings:
                pipe.set(key, mine, nx=True, get=True, px=self.settings.idempotencyttl * 1000)
            return list(await pipe.execute())

    async def _forget_odd(self, bound: Sequence[str]) -> None:
        """Remove what somebody wrote over idempotency keys: it binds nothing any more."""
        with translated():
            for key in bound:
                if await self.client.type(key) not in (b"string", b"none"):
                    await self.client.delete(key)

    async def _settle_bindings(self, bound: Sequence[str]) -> None:
        """Wait for the replicas of each node that has some of the keys. On a single server those of the jobs have them too."""
        by_node = {self.client.get_node_from_key(key).name: key for key in bound}
        await asyncio.gather(*(self._settle_binding(key) for key in by_node.values()))

    async def _settle_binding(self, key: str) -> None:
        replicas = replicas_of(self.client)
        with translated():
            commands = [("PEXPIRE", key, self.settings.idempotencyttl * 1000), ("WAIT", replicas, WAIT_MS)]  # PEXPIRE is a write
            there, acknowledged = await exchange(self.client, key, commands)
            for answer in (there, acknowledged):
                if isinstance(answer, Exception):
                    raise answer
        if not there or acknowledged < replicas:
            raise too_few(acknowledged if there else 0, replicas)

    async def _release(self, reserved: Sequence[str]) -> None:
        """Forget keys of a refused batch.

        Should somebody have submitted the same key and body meanwhile, only its tie to one queue is lost: the queue's
        own record of the key, which the submit script writes, stays.
        """
        if reserved:
            with translated():
                pipe = self.client.pipeline(transaction=False)
                for key in reserved:
                    pipe.delete(key)
                await pipe.execute()

    # ------------------------------------------------------------------ one job

    async def get(self, job_id: str) -> JobView | None:
        """The job as Redis knows it; None when it is unknown or no longer kept here.

        Raises:
            InvalidJobId: not a job id.
        """
        parts = parse_id(job_id)
        return _view(job_id, parts.queue, await self._run("lookup", parts.queue, job_id, parts.kind, parts.entry))

    async def get_many(self, job_ids: Sequence[str]) -> list[JobView | None]:
        """Several jobs in one round trip, in their order; None for what is no id, and where damage hides the job."""
        script = scripts.load("lookup")
        known = {job_id: parse_id(job_id) for job_id in job_ids if is_id(job_id)}
        if not known:
            return [None] * len(job_ids)
        places = [keys.prefix(part.queue) for part in known.values()]
        commands = [
            ("EVALSHA", script.sha, 1, place, job_id, part.kind, part.entry)
            for place, (job_id, part) in zip(places, known.items(), strict=True)
        ]
        for _ in range(2):
            try:
                replies = await ask_each(self.client, places, commands)
            except NoScriptError:
                with translated():
                    await self.client.script_load(script.text)
                continue
            found = {job_id: _view(job_id, known[job_id].queue, reply) for job_id, reply in zip(known, replies, strict=True)}
            return [found.get(job_id) for job_id in job_ids]
        raise QueueUnavailable("Redis forgets its scripts")

    async def cancel(self, job_id: str) -> State | None:
        """Cancel a job.

        Returns its state afterwards: cancelled if it was waiting; running if its worker was asked to stop it, which
        takes about half a second; a terminal state when there was nothing to cancel; None when Redis has it not.
        """
        parts = parse_id(job_id)
        reply = await self._run("cancel", parts.queue, job_id, parts.kind, parts.entry, *self._ttls)
        return None if reply is None else State(reply.decode())

    async def replay(self, job_id: str, row: TerminalJob | None = None) -> Submitted | None:
        """Put a failed or cancelled job back into its queue under its own id, with its retries afresh.

        ``row`` is its record from PostgreSQL, used when Redis has forgotten it. None when there is no record at all.

        Raises:
            IllegalTransition: it is live, or it has succeeded.
        """
        parts = parse_id(job_id)
        with translated(keys.prefix(parts.queue)):
            blob = await self.client.hget(keys.done(parts.queue, job_id), job_id)
            if blob is None:
                blob = await self.client.hget(keys.failed(parts.queue, job_id), job_id)
        job = (views.read_terminal(blob) if blob is not None else None) or row
        if job is None:
            view = await self.get(job_id)
            if view is None:
                return None
            raise IllegalTransition(f"the job is {view.state}; only failed and cancelled jobs can be retried", view.state)
        if job.state not in (State.FAILED, State.CANCELLED):
            raise IllegalTransition(f"the job has {job.state}; only failed and cancelled jobs can be retried", job.state)
        history = b",".join(msgspec.json.encode(attempt) for attempt in job.attempts[-HISTORY:])
        options = options_json(job.timeout, job.max_retries, job.schedule)
        args = (PRIORITIES[job.priority], job.type, bytes(job.payload), options, job.submitted, job.replays, history)
        state = await self._run("replay", parts.queue, job_id, *args)
        if state != b"queued":
            view = await self.get(job_id)
            raise IllegalTransition("the job is not failed or cancelled any more", view.state if view else "queued")
        return Submitted(job_id, State.QUEUED)

    async def wait(self, job_ids: str | Iterable[str], timeout_s: float) -> None:
        """Return when all the jobs are terminal in Redis, or after ``timeout_s`` seconds."""
        wanted = {job_ids} if isinstance(job_ids, str) else set(job_ids)
        deadline = time.monotonic() + timeout_s
        pause = 0.01
        while wanted:
            wanted -= await self.finished(wanted)
            left = deadline - time.monotonic()
            if not wanted or left <= 0:
                return
            await asyncio.sleep(min(pause, left))
            pause = min(0.25, pause * 1.5)

    async def finished(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the jobs that are terminal in Redis: one round trip for any number."""
        ids = list(job_ids)
        places, commands = [], []
        for job_id in ids:
            queue = parse_id(job_id).queue
            for place in (keys.done(queue, job_id), keys.failed(queue, job_id)):
                places.append(place)
                commands.append(("HEXISTS", place, job_id))
        found = await ask_each(self.client, places, commands)
        return {job_id for job_id, done, failed in zip(ids, found[::2], found[1::2], strict=True) if done or failed}

    # ------------------------------------------------------------------ queues

    async def pause(self, queue: str) -> None:
        """Stop handing out jobs of this queue; running ones go on."""
        await self._register([keys.prefix(queue)])
        await settled(self.client, keys.prefix(queue), ("SET", keys.paused(queue), "1"))

    async def resume(self, queue: str) -> None:
        """Hand out jobs again."""
        await self._run("resume", queue)

    async def queues(self) -> list[str]:
        """Names of all queues ever submitted to, sorted."""
        with translated(keys.QUEUES):
            names = await self.client.smembers(keys.QUEUES)
        return sorted(text for name in names if QUEUE_NAME.fullmatch(text := name.decode(errors="replace")))

    async def stats(self, names: Sequence[str], *, damaged: bool = True) -> list[QueueStats]:
        """Numbers of the named queues, in their order; zeros for one never used. ``damaged`` False leaves damaged ones out."""
        found: list[QueueStats] = []
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            replies = await asyncio.gather(*(self._run("stats", name) for name in some), return_exceptions=True)
            for name, reply in zip(some, replies, strict=True):
                if isinstance(reply, BaseException):
                    if damaged or not isinstance(reply, QueueDamaged):
                        raise reply
                else:
                    found.append(_stats(name, reply))
        return found

    async def list_live(self, wanted: LiveFilter, cursor: str | None, limit: int) -> tuple[list[JobView], str | None]:
        """A page of jobs that are not finished, newest first within each queue and lane, and the next page's cursor.

        Raises:
            InvalidCursor: ``cursor`` is not one that this method gave.
        """
        names = [wanted.queue] if wanted.queue else await self.queues()
        return await list_live(self, names, wanted, cursor, limit)

    # ------------------------------------------------------------------ duties any process may do

    async def reclaim(self, queue: str, *, audit: bool = False, limit: int = 500, gap_s: float = 0.0) -> Reclaimed:
        """Requeue jobs of workers whose lease ran out. ``audit`` also finds damage from outside and trims dead letters.

        ``gap_s``: when nobody has called this for longer, in seconds, the server may have stood still, and live workers
        get half a lease to renew before anyone is taken for dead; 0 takes at once.
        """
        grace_ms = int(self.settings.leaseseconds * 500)
        reply = await self._run("reclaim", queue, limit, MAX_CRASHES, *self._ttls, int(audit), int(gap_s * 1000), grace_ms)
        return Reclaimed(*reply)

    async def promote(self, queue: str, limit: int = 1000) -> tuple[int, int | None]:
        """Make due jobs ready. Returns how many, and when the next one is due (ms) or None."""
        promoted, due = await self._run("promote", queue, limit)
        return promoted, None if due < 0 else due

    async def outbox_length(self, names: Sequence[str]) -> int:
        """Outbox entries of the named queues: batches of finished jobs not yet in PostgreSQL."""
        places = [keys.outbox(name) for name in names]
        lengths = await ask_each(self.client, places, [("XLEN", place) for place in places])
        return sum(length or 0 for length in lengths)

    async def read_outbox(self, queue: str, older_than_ms: int = 0, limit: int = 100) -> list[tuple[str, list[TerminalJob]]]:
        """The oldest outbox entries, if written at least ``older_than_ms`` ago by the server's clock.

        An entry that no script of ours wrote comes with an empty list.
        """
        with translated(keys.prefix(queue)):
            seconds, micros = await self.client.time()
            newest = seconds * 1000 + micros // 1000 - older_than_ms
            found = await self.client.xrange(keys.outbox(queue), "-", str(newest), count=limit)
            if found and replicas_of(self.client):  # a row is not to tell of an end that is still to be lost
                found = await self._settled_entries(queue, newest, limit)
        return [(entry.decode(), _rows(fields)) for entry, fields in found]

    async def _settled_entries(self, queue: str, newest: int, limit: int) -> list[Any]:
        command = ("XRANGE", keys.outbox(queue), "-", str(newest), "COUNT", limit)
        raw = await settled(self.client, keys.prefix(queue), command)
        return [(entry, dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in raw]

    async def set_outbox_aside(self, queue: str, entries: Sequence[str]) -> None:
        """Move entries that nobody can read to the stream ``outbox-unreadable``, for a person to look at."""
        with translated(keys.prefix(queue)):
            for entry in entries:
                for _, fields in await self.client.xrange(keys.outbox(queue), entry, entry):
                    await self.client.xadd(f"{keys.outbox(queue)}-unreadable", fields, maxlen=1000)
                await self.client.xdel(keys.outbox(queue), entry)

    async def clear_outbox(self, queue: str, entries: Sequence[str], rows: Sequence[TerminalJob] = ()) -> None:
        """Remove entries that are in PostgreSQL. Their ``rows``, if given, are kept in Redis for RESULTTTL from now at most."""
        if entries:
            with translated(keys.prefix(queue)):
                if rows:
                    await keep_no_longer(self.client, queue, rows, self._ttls[0])
                await self.client.xdel(keys.outbox(queue), *entries)

    # ------------------------------------------------------------------ schedules

    async def fire(self, tick: FireTick) -> Fired:
        """Start the job of a tick, at most once per (uid, minute), under the concurrency policy."""
        job = tick.job
        await self._register([keys.prefix(job.queue)])
        job_id = tick_id(tick.uid, tick.minute_ms, job.queue) if tick.minute_ms else ""
        options = options_json(job.timeout, job.max_retries, tick.name)
        args = (tick.uid, tick.minute_ms, tick.policy, job_id, PRIORITIES[job.priority], job.type, job.payload, options, *self._ttls)
        reply = await self._run("fire", job.queue, *args)
        return Fired(reply[0].decode(), reply[1].decode() or None, [run.decode() for run in reply[2]])

    async def runs(self, queue: str, uid: str, forget: Sequence[str] = ()) -> list[Run]:
        """The runs of a schedule not forgotten yet, after forgetting the given ids."""
        reply = await self._run("runs", queue, uid, *forget)
        return [Run(run.decode(), int(tick), state.decode(), int(finished)) for run, tick, state, finished in reply]

    async def forget_schedule(self, queue: str, uid: str) -> None:
        """Remove what a queue remembers of a deleted schedule. Its live runs go on as ordinary jobs."""
        prefix = keys.prefix(queue)
        with translated(prefix):
            await self.client.delete(f"{prefix}:runs:{uid}")
            await self.client.hdel(f"{prefix}:ticks", uid)


def _refusal(error: ResponseError, names: list[str]) -> Exception:
    """The typed error for what the submit script refused."""
    words = str(error).split(None, 2)
    if words and words[0] == "FULL":
        return QueueFull(names[int(words[1]) - 1].removeprefix("dtq:{").removesuffix("}"))
    if words and words[0] == "DAMAGED":
        return damage_of(names[int(words[1]) - 1], words[2]) or error
    if words and words[0] == "CONFLICT":
        return IdempotencyConflict("this idempotency key was used with another body", int(words[1]))
    return error


def _submitted(job: NewJob, answer: Any) -> Submitted:
    if isinstance(answer, bytes):
        return Submitted(make_id(answer.decode(), PRIORITIES[job.priority], job.queue), State.QUEUED)
    if answer[0] == 0:
        return Submitted(answer[1].decode(), State.QUEUED, created=False)
    return Submitted(answer[0].decode(), State.SCHEDULED, run_at=answer[1])


def _view(job_id: str, queue: str, reply: list[Any] | None) -> JobView | None:
    if reply is None:
        return None
    if reply[0] == b"done":
        row = views.read_terminal(reply[1])
        return None if row is None else views.terminal_view(row)
    return views.live_view(job_id, queue, reply[1:])


def _stats(name: str, reply: list[int]) -> QueueStats:
    now, ready, due, delayed, running, dead, oldest, paused, workers, outbox = reply
    age = 0.0 if oldest < 0 else max(0, now - oldest) / 1000
    return QueueStats(name, ready, due, delayed, running, dead, age, bool(paused), workers, outbox)


def _rows(fields: dict[bytes, bytes]) -> list[TerminalJob]:
    return views.decode_terminals(fields.get(b"r", b"")) or []
