"""Moves at random on the real queue and on the model, which must agree after each of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from queue_model import IDEMPOTENCY, LANES, LIMIT, MAX_RETRIES, TERMINAL, UNIT_MS, End, Job, Keyring, QueueModel, Row, Use
from queue_system import Raw, System

from dtq.errors import IdempotencyConflict, IllegalTransition, InvalidRequest, QueueFull
from dtq.ids import parse_id, tick_id
from dtq.job import LANE_PRIORITIES, PRIORITIES, JobView, NewJob, State, TerminalJob
from dtq.queue import FireTick, LiveFilter, Submitted, keys
from dtq.queue.claims import ClaimedJob, Claims, Finish, read_box
from dtq.retry import Backoff, decide

QUEUES = ("a", "b")
"""On a cluster of three, two nodes."""

MINUTE = 1_760_000_040_000
SLOTS = 3
"""Workers at a time. One that dies or leaves is followed by another, under a new name."""

PRIORITY_NAMES = ("high", "normal", "low")

queues = st.sampled_from(("a", "a", "a", "b"))
picks = st.integers(0, 15)
"""Picks one of what is there, modulo its number: the choices do not depend on what is there."""

slots = st.integers(0, SLOTS - 1)
schedules = st.sampled_from(("s", "t"))
hows = st.sampled_from(("succeeded", "succeeded", "error", "error", "permanent", "cancelled", "hand_back"))
delays = st.sampled_from((0, 0, 1, 2))
specs = st.tuples(
    st.sampled_from(PRIORITY_NAMES),
    st.sampled_from((0, 0, 0, 0, 1, 2)),  # delay in units
    st.sampled_from((None, None, None, "k0", "k1")),  # idempotency key
    st.sampled_from((0, 0, 1)),  # which body
    st.sampled_from((None, None, 0, 1)),  # max_retries
)


@dataclass
class Held:
    """A claim as a worker knows it."""

    claims: Claims
    job: ClaimedJob
    serial: int


@dataclass
class Worker:
    """One life of a worker: what it believes it is running, by queue."""

    claims: Claims
    held: dict[str, list[Held]] = field(default_factory=lambda: {name: [] for name in QUEUES})

    @property
    def name(self) -> str:
        return self.claims.worker


class QueueMachine(RuleBasedStateMachine):
    """A subclass names the ``system``. ``examples`` and ``steps`` count what was done."""

    system: ClassVar[System]
    examples: ClassVar[int] = 0
    steps: ClassVar[int] = 0
    moves: ClassVar[Counter[str]] = Counter()

    @initialize(first=st.lists(specs, max_size=5), paused=st.sampled_from((False, False, False, True)))
    def begin(self, first: list[tuple[str, int, str | None, int, int | None]], paused: bool) -> None:
        """An empty server, and some jobs."""
        type(self).examples += 1
        self.system.reset()
        self.models = {name: QueueModel(name) for name in QUEUES}
        self.keyring = Keyring()
        self.lives = 0
        self.workers = [self._born() for _ in range(SLOTS)]
        self.names = [worker.name for worker in self.workers]
        self.spent: list[Held] = []
        self.rows: dict[str, TerminalJob] = {}  # PostgreSQL: the newest of each job
        self.stored: Counter[tuple[str, int]] = Counter()  # rows taken out of the outbox, by life of a job
        self.written: set[tuple[str, str, bytes]] = set()  # endings that were accepted
        self.ended: dict[tuple[str, int], str] = {}  # terminal states seen, by life of a job
        self.uids = {"s": 0, "t": 0}  # schedules, and which life of theirs it is
        self.touched: set[str] = set(QUEUES)
        self.sound = True
        if paused:
            self.pause("a")
        if first:
            self.submit("a", first, False)

    # ------------------------------------------------------------------ helpers

    def _born(self) -> Worker:
        self.lives += 1
        return Worker(self.system.worker(f"w{self.lives:03d}"))

    def _on(self, queue: str, move: str) -> QueueModel:
        """The model of a queue that is about to be changed."""
        type(self).steps += 1
        self.moves[move] += 1
        self.touched.add(queue)
        self.sound = False
        return self.models[queue]

    def _job(self, pick: int) -> Job | None:
        every = [job for model in self.models.values() for job in model.jobs.values()]
        return every[-1 - pick % len(every)] if every else None

    def _hold(self, worker: Worker, model: QueueModel, found: ClaimedJob) -> None:
        """A claim reached its worker: it must be as the model has it."""
        job = model.jobs[found.id]
        assert (found.queue, found.type, found.payload, found.defect) == (model.name, "noop", job.payload, "")
        assert (found.failures, found.crashes, found.replays) == (job.failures, job.crashes, job.replays)
        assert [attempt.outcome for attempt in found.history] == job.history
        assert (found.recorded, found.max_retries, found.schedule) == (job.recorded, job.max_retries, job.schedule)
        assert found.priority == LANE_PRIORITIES[job.lane]
        assert found.lane == job.claimed_in
        worker.held[model.name].append(Held(worker.claims, found, job.serial))

    # ------------------------------------------------------------------ submit

    @rule(queue=queues, wanted=st.lists(specs, min_size=1, max_size=4), spread=st.sampled_from((False, False, False, True)))
    def submit(self, queue: str, wanted: list[tuple[str, int, str | None, int, int | None]], spread: bool) -> None:
        """One job or a batch, over one queue or both, some delayed, some under a key that may have been used before."""
        names = [queue if not spread else QUEUES[index % 2] for index in range(len(wanted))]
        jobs = [
            NewJob(
                "noop",
                b'{"n":%d}' % body,
                queue=name,
                priority=priority,
                delay_ms=delay * UNIT_MS,
                idempotency_key=key,
                digest=f"body{body}",
                max_retries=retries,
            )
            for name, (priority, delay, key, body, retries) in zip(names, wanted, strict=True)
        ]
        for name in names:
            self._on(name, "submit")
        now = self.models[queue].now
        fresh = self._fresh(jobs, now)
        if self._is_refused(jobs, fresh, now):
            return
        before = _clock()
        answers = self.system.run(self.system.queue.submit(jobs))
        after = _clock()
        made: dict[str, list[Job]] = {}
        for job, first, answer in zip(jobs, fresh, answers, strict=True):
            assert answer.created == first
            if first:
                made.setdefault(job.queue, []).append(self._made(job, answer, now, before, after))
            else:
                assert job.idempotency_key
                assert answer.id == self.keyring.uses[job.idempotency_key].job_id, "the repeat of a request names another job"
        for name, some in made.items():
            self.models[name].submitted(some)

    def _fresh(self, jobs: list[NewJob], now: int) -> list[bool]:
        """Of each job whether it is a new one: its key, if it has one, was not used before, nor earlier in the batch."""
        seen: set[str] = set()
        fresh = []
        for job in jobs:
            key = job.idempotency_key
            fresh.append(key is None or (key not in seen and self.keyring.used(key, now) is None))
            seen |= {key} if key else set()
        return fresh

    def _is_refused(self, jobs: list[NewJob], fresh: list[bool], now: int) -> bool:
        """Whether the batch has to be refused: then it is, with the right error."""
        if self.system.cluster and len({job.queue for job in jobs}) > 1:
            with pytest.raises(InvalidRequest):
                self.system.run(self.system.queue.submit(jobs))
            return True
        clash = self.keyring.conflict([(job.idempotency_key, job.queue, job.digest) for job in jobs], now)
        if clash is not None:
            with pytest.raises(IdempotencyConflict) as caught:
                self.system.run(self.system.queue.submit(jobs))
            assert caught.value.index == clash
            return True
        new = Counter(job.queue for job, first in zip(jobs, fresh, strict=True) if first)
        if any(sum(1 for _ in self.models[name].live()) + count > LIMIT for name, count in new.items()):
            with pytest.raises(QueueFull):
                self.system.run(self.system.queue.submit(jobs))
            return True
        return False

    def _made(self, job: NewJob, answer: Submitted, now: int, before: int, after: int) -> Job:
        """The model's record of a job that was made between ``before`` and ``after``."""
        if job.idempotency_key:
            self.keyring.uses[job.idempotency_key] = Use(job.queue, job.digest, answer.id, now + IDEMPOTENCY)
        parts = parse_id(answer.id)
        assert (parts.queue, parts.kind) == (job.queue, "d" if job.delay_ms else PRIORITIES[job.priority])
        assert answer.id not in self.models[job.queue].jobs, "two jobs under one id"
        mine = Job(answer.id, job.queue, PRIORITIES[job.priority], job.payload, str(answer.state), job.max_retries)
        assert mine.state == ("scheduled" if job.delay_ms else "queued")
        if job.delay_ms:
            assert answer.run_at is not None
            assert before <= answer.run_at - job.delay_ms <= after
            mine.due, mine.due_at = answer.run_at, now + job.delay_ms // UNIT_MS
        return mine

    @rule(queue=queues, priority=st.sampled_from(PRIORITY_NAMES), count=st.integers(1, 3))
    def submit_plain(self, queue: str, priority: str, count: int) -> None:
        """The commonest jobs: to be run now, alike."""
        self.submit(queue, [(priority, 0, None, 0, None)] * count, False)

    # ------------------------------------------------------------------ claim

    @rule(queue=queues, slot=slots, most=st.integers(1, 4), wait=st.booleans())
    def claim(self, queue: str, slot: int, most: int, wait: bool) -> None:
        model, worker = self._on(queue, "claim"), self.workers[slot]
        never = {job.id for job in model.jobs.values() if job.cancel or not job.live}
        found = self.system.run(worker.claims.claim(queue, most, wait=wait))
        ids = [job.id for job in found.jobs]
        assert not (model.paused and ids), "a paused queue handed out jobs"
        assert not never & set(ids), "a job that had ended, or was to be cancelled, was handed out"
        expected, due = model.claim(worker.name, most, wait=wait)
        assert (ids, found.paused, found.next_due) == (expected, model.paused, due)
        for job in found.jobs:
            self._hold(worker, model, job)

    @rule(queue=queues, slot=slots, most=st.integers(1, 4))
    def claim_and_wait(self, queue: str, slot: int, most: int) -> None:
        """The commonest claim is one that waits."""
        self.claim(queue, slot, most, True)

    @rule(queue=queues, slot=slots, most=st.integers(1, 3), how=hows, delay=delays)
    def work(self, queue: str, slot: int, most: int, how: str, delay: int) -> None:
        """A claim, and its end at once."""
        before = len(self.workers[slot].held[queue])
        self.claim(queue, slot, most, True)
        fresh = len(self.workers[slot].held[queue]) - before
        if fresh:
            self.agrees()
            self.finish(queue, slot, [(before, how, delay)] * fresh, False)

    @rule(queue=queues, slot=slots, lost=st.sampled_from((False, False, True)))
    def read_box(self, queue: str, slot: int, lost: bool) -> None:
        """A blocking read brings what was left for an idle worker; or its answer is lost with the connection."""
        model, worker = self._on(queue, "read_box"), self.workers[slot]
        content = self.system.pop(keys.box(queue, worker.name))
        expected = model.take(worker.name)
        assert (content is None) == (expected is None)
        if content is not None and expected is not None:
            self._unbox(worker, model, content, expected, lost=lost)

    def _unbox(self, worker: Worker, model: QueueModel, content: bytes, expected: str, *, lost: bool = False) -> None:
        found = read_box(model.name, content)
        assert (found.id if found else "") == expected
        if found is None:
            return
        if self._current(model, worker.name, found):
            self._hold(worker, model, found)
        else:
            lost = True
        if lost and worker.held[model.name] and worker.held[model.name][-1].job is found:
            self.spent.append(worker.held[model.name].pop())

    def _current(self, model: QueueModel, worker: str, found: ClaimedJob) -> bool:
        job = model.jobs[found.id]
        return job.state == "running" and job.worker == worker and job.claimed_in == found.lane

    @rule(queue=queues, slot=slots, word=st.booleans())
    def retract(self, queue: str, slot: int, word: bool) -> None:
        model, worker = self._on(queue, "retract"), self.workers[slot]
        found = self.system.run(worker.claims.retract(queue, word=word))
        expected = model.retract(worker.name, word=word)
        assert len(found) == len(expected)
        for content, job_id in zip(found, expected, strict=True):
            self._unbox(worker, model, content, job_id)

    def take_token(self, queue: str) -> None:
        """A blocking read on the wake list."""
        model = self._on(queue, "take_token")
        assert (self.system.pop(keys.wake(queue)) is not None) == model.token
        model.token = False

    # ------------------------------------------------------------------ finish

    @rule(queue=queues, slot=slots, some=st.lists(st.tuples(picks, hows, delays), min_size=1, max_size=3), again=st.booleans())
    def finish(self, queue: str, slot: int, some: list[tuple[int, str, int]], again: bool) -> None:
        """Some of what a worker believes to run ends; it may have lost it meanwhile. ``again``: the reply was lost, all is sent anew."""
        held = self.workers[slot].held[queue]
        chosen = []
        for pick, how, delay in some:
            if held:
                chosen.append((held.pop(pick % len(held)), how, delay))
        if chosen:
            written = self._finish(queue, chosen)
            if again:
                self._finish(queue, chosen, written)
            self.spent += [item for item, _, _ in chosen]

    @rule(queue=queues, slot=slots, how=hows, delay=delays)
    def finish_one(self, queue: str, slot: int, how: str, delay: int) -> None:
        self.finish(queue, slot, [(0, how, delay)], False)

    @precondition(lambda self: self.spent)
    @rule(pick=picks, how=hows, delay=delays, twice=st.booleans())
    def finish_late(self, pick: int, how: str, delay: int, twice: bool) -> None:
        """A claim that ended before, that was lost on its way, or whose worker has left or died: by whoever had it. Or twice at once."""
        item = self.spent[-1 - pick % len(self.spent)]
        self._finish(item.job.queue, [(item, how, delay)] * (1 + twice))

    def _finish(self, queue: str, chosen: list[tuple[Held, str, int]], written: frozenset[int] = frozenset()) -> frozenset[int]:
        """Positions of endings that are now written; ``written``: those that were by this very call before."""
        model = self._on(queue, "finish")
        claims = chosen[0][0].claims
        reports = [self._report(item, how, delay) for item, how, delay in chosen]
        before = _clock()
        done = self.system.run(claims.finish(queue, [finish for finish, _ in reports]))
        after = _clock()
        waits = {view.id: view.run_at or 0 for view in self._views([end.id for _, end in reports]) if view}
        outbox = len(model.outbox)
        stale, cancelled = model.finish(claims.worker, [end for _, end in reports], waits)
        assert (done.stale | done.repeated, done.cancelled) == (stale, cancelled)
        assert not done.stale & done.repeated
        assert written <= done.repeated, "what was sent again is not known"
        own = {text for index in set(range(len(reports))) - stale for text in _texts(reports[index])}
        assert all(_text(reports[index]) in self.written | own for index in done.repeated), "an ending that was never written"
        ended = {index for index, (_, end) in enumerate(reports) if end.op in "kf"} - stale
        assert (done.outbox is not None) == bool(ended)
        assert len(model.outbox) - outbox == bool(ended) + len(cancelled)
        for index, (_, end) in enumerate(reports):
            job = model.jobs[end.id]
            if end.op == "r" and index not in stale | cancelled:
                assert before <= job.due - end.delay * UNIT_MS <= after
                limit = MAX_RETRIES if job.max_retries is None else job.max_retries
                assert job.failures <= limit, "more retries than the job has"
        kept = frozenset(index for index, (_, end) in enumerate(reports) if end.op != "h" and index not in stale | cancelled)
        self.written |= {text for index in kept for text in _texts(reports[index])}
        return kept

    def _report(self, item: Held, how: str, delay: int) -> tuple[Finish, End]:
        """What the worker sends for an attempt that ended so: whether a failed one runs again is decided as workers do."""
        if how in ("error", "permanent"):
            limit = MAX_RETRIES if item.job.max_retries is None else item.job.max_retries
            again = decide(RuntimeError("boom"), item.job.failures + 1, limit, Backoff()).retry_in is not None
            how = "retry" if again and how == "error" else "failed"
        report: Finish = self.system.end(item.job, how, delay * UNIT_MS)
        return report, End(item.job.id, item.serial, report.op, how, delay)

    # ------------------------------------------------------------------ leases

    @rule(queue=queues, slot=slots)
    def renew(self, queue: str, slot: int) -> None:
        model, worker = self._on(queue, "renew"), self.workers[slot]
        found = self.system.run(worker.claims.renew(queue))
        assert (found.held, set(found.cancels)) == model.renew(worker.name)

    @rule(queue=queues, audit=st.booleans(), limit=st.sampled_from((1, 2, 500, 500)), gap=st.sampled_from((False, False, True)))
    def reclaim(self, queue: str, audit: bool, limit: int, gap: bool) -> None:
        model = self._on(queue, "reclaim")
        gap_s = 1.5 * UNIT_MS / 1000 if gap else 0.0
        found = self.system.run(self.system.queue.reclaim(queue, audit=audit, limit=limit, gap_s=gap_s))
        expected = model.reclaim(audit=audit, budget=limit, gap=gap)
        assert (found.requeued, found.failed, found.cancelled, found.workers) == expected

    @rule(slot=slots, way=st.sampled_from(("crash", "lapse", "lapse", "leave")), limit=st.sampled_from((1, 500, 500)))
    def worker_ends(self, slot: int, way: str, limit: int) -> None:
        """In one of three ways."""
        if way == "lapse":
            self.lapse(slot, limit)
        else:
            {"crash": self.crash, "leave": self.leave}[way](slot)

    def crash(self, slot: int) -> None:
        """A worker is gone: it renews nothing any more. Its reports may still be on their way."""
        self._replace(slot)

    def lapse(self, slot: int, limit: int) -> None:
        """A worker dies, its lease runs out, and its jobs are taken: what happens after every crash, in one move."""
        name = self._replace(slot).name
        self.pass_time(2)
        for queue in QUEUES:
            if name in self.models[queue].workers:
                self.reclaim(queue, False, limit, False)

    def leave(self, slot: int) -> None:
        """A worker says good-bye to all queues, with or without claims."""
        worker = self._replace(slot)
        for queue in QUEUES:
            model = self._on(queue, "leave")
            assert self.system.run(worker.claims.leave(queue)) == model.leave(worker.name)

    def _replace(self, slot: int) -> Worker:
        gone, self.workers[slot] = self.workers[slot], self._born()
        self.names.append(self.workers[slot].name)
        self.spent += [item for held in gone.held.values() for item in held]
        return gone

    # ------------------------------------------------------------------ one job

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        job = self._job(pick)
        if job:
            model = self._on(job.queue, "cancel")
            assert self.system.run(self.system.queue.cancel(job.id)) == model.cancel(job)

    @rule(pick=picks, with_row=st.booleans())
    def replay(self, pick: int, with_row: bool) -> None:
        """A retry by hand; ``with_row``: the caller has looked the job up in PostgreSQL."""
        job = self._job(pick)
        if job is None:
            return
        model = self._on(job.queue, "replay")
        row = self.rows.get(job.id) if with_row else None
        if row is not None and job.gone and row.replays != job.replays:
            row = None  # the newest row is still in the outbox: until then Redis keeps a job (7 days), and forgets none
        known = row is not None or not job.gone
        if known and job.state not in ("failed", "cancelled"):
            with pytest.raises(IllegalTransition):
                self.system.run(self.system.queue.replay(job.id, row))
            return
        done = self.system.run(self.system.queue.replay(job.id, row))
        assert (done is not None) == model.replay(job, by_row=row is not None)
        assert done is None or (done.id, done.state) == (job.id, "queued")

    @rule(
        queue=queues,
        state=st.sampled_from((None, "queued", "running", "scheduled", "retrying")),
        limit=st.sampled_from((1, 2, 100)),
        pick=picks,
    )
    def look(self, queue: str, state: str | None, limit: int, pick: int) -> None:
        """The list of live jobs, and one job."""
        self.list_live(queue, state, limit)
        self.look_up(pick)

    def list_live(self, queue: str, state: str | None, limit: int) -> None:
        model = self._on(queue, "list_live")
        wanted = LiveFilter(states=frozenset({State(state)}) if state else None, queue=queue)
        found: list[tuple[str, str]] = []
        cursor: str | None = None
        while True:
            page, cursor = self.system.run(self.system.queue.list_live(wanted, cursor, limit))
            assert len(page) <= limit
            found += [(view.id, str(view.state)) for view in page]
            if cursor is None:
                break
        assert sorted(found) == sorted((job.id, job.state) for job in model.live() if state in (None, job.state))

    def look_up(self, pick: int) -> None:
        """One job, by each call there is for that."""
        job = self._job(pick)
        if job:
            self._on(job.queue, "look_up")
            _compare(job, self.system.run(self.system.queue.get(job.id)))
            assert self.system.run(self.system.queue.finished([job.id])) == ({job.id} if not job.live and not job.gone else set())

    def _views(self, ids: list[str]) -> list[JobView | None]:
        return self.system.run(self.system.queue.get_many(ids))

    # ------------------------------------------------------------------ queues

    @rule(queue=queues, duty=st.sampled_from(("pause", "pause", "resume", "promote", "promote_one", "take_token")))
    def tend(self, queue: str, duty: str) -> None:
        """What operators and schedulers do to a queue."""
        if duty.startswith("promote"):
            self.promote(queue, 1 if duty == "promote_one" else 1000)
        else:
            {"pause": self.pause, "resume": self.resume, "take_token": self.take_token}[duty](queue)

    def pause(self, queue: str) -> None:
        model = self._on(queue, "pause")
        self.system.run(self.system.queue.pause(queue))
        model.paused = True

    def resume(self, queue: str) -> None:
        model = self._on(queue, "resume")
        self.system.run(self.system.queue.resume(queue))
        model.resume()

    def promote(self, queue: str, limit: int) -> None:
        model = self._on(queue, "promote")
        assert self.system.run(self.system.queue.promote(queue, limit)) == model.promote(limit)

    @rule(
        queue=queues,
        most=st.sampled_from((1, 100)),
        schedule=schedules,
        duty=st.sampled_from(("store", "store", "watch", "forget", "delete")),
    )
    def keep_house(self, queue: str, most: int, schedule: str, duty: str) -> None:
        """What schedulers do to what has ended."""
        if duty == "store":
            self.store(queue, most)
        elif duty == "delete":
            self.delete_schedule(schedule)
        else:
            self.watch(schedule, duty == "forget")

    def store(self, queue: str, most: int) -> None:
        """The sweeper: rows go to PostgreSQL, then their entries go."""
        model = self._on(queue, "store")
        found = self.system.run(self.system.queue.read_outbox(queue, limit=most))
        assert [_rows(rows) for _, rows in found] == model.outbox[:most]
        for _, rows in found:
            for row in rows:
                self.stored[row.id, row.replays] += 1
                self.rows[row.id] = row
        self.system.run(self.system.queue.clear_outbox(queue, [entry for entry, _ in found]))
        del model.outbox[:most]

    @rule(units=st.sampled_from((1, 1, 2, 3)))
    def pass_time(self, units: int) -> None:
        """Leases run out, delays end, what is kept for a while goes."""
        for queue in QUEUES:
            self._on(queue, "pass_time").pass_time(units)
        self.system.pass_time(units, QUEUES)

    # ------------------------------------------------------------------ schedules

    @rule(
        schedule=schedules,
        tick=st.integers(0, 5),
        policy=st.sampled_from(("Allow", "Forbid", "Replace")),
        priority=st.sampled_from(PRIORITY_NAMES),
        again=st.booleans(),
    )
    def fire(self, schedule: str, tick: int, policy: str, priority: str, again: bool) -> None:
        """A tick; ``again``: another replica fires it too. 0: a run by hand."""
        minute = MINUTE + tick * 60_000 if tick else 0
        self._fire(schedule, minute, policy, priority)
        if again:
            self._fire(schedule, minute, policy, priority)

    def _uid(self, schedule: str) -> tuple[str, str]:
        """The uid, and the queue of its jobs."""
        return f"{schedule}{self.uids[schedule]}", "a" if schedule == "s" else "b"

    def _fire(self, schedule: str, minute: int, policy: str, priority: str) -> None:
        uid, queue = self._uid(schedule)
        model = self._on(queue, "fire")
        wish = FireTick(uid, f"every-{schedule}", minute, policy, NewJob("noop", b'{"n":9}', queue=queue, priority=priority))
        fired = self.system.run(self.system.queue.fire(wish))
        job_id = tick_id(uid, minute, queue) if minute else str(fired.id)
        assert bool(minute) or job_id not in model.jobs
        job = Job(job_id, queue, PRIORITIES[priority], b'{"n":9}', schedule=f"every-{schedule}")
        outcome, live = model.fire(uid, minute, policy, job)
        assert (fired.outcome, fired.active) == (outcome, live)
        assert fired.id == (None if outcome == "active" else job_id)

    def watch(self, schedule: str, forget: bool) -> None:
        """The run watcher looks, and forgets what has ended."""
        uid, queue = self._uid(schedule)
        model = self._on(queue, "watch")
        runs = model.runs.get(uid, {})
        over = [job_id for job_id in runs if not model.jobs[job_id].live] if forget else []
        found = self.system.run(self.system.queue.runs(queue, uid, over))
        for job_id in over:
            del runs[job_id]
        assert {run.id: run.state for run in found} == {job_id: model.run_state(model.jobs[job_id]) for job_id in runs}
        for run in found:
            assert runs[run.id] in (0, run.tick_ms)

    def delete_schedule(self, schedule: str) -> None:
        """Its runs go on. The next of the name is another life, with a uid of its own."""
        uid, queue = self._uid(schedule)
        model = self._on(queue, "delete_schedule")
        self.system.run(self.system.queue.forget_schedule(queue, uid))
        model.runs.pop(uid, None)
        model.ticks.pop(uid, None)
        self.uids[schedule] += 1

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def agrees(self) -> None:
        """Queue and model say the same of every job, and each job is in one place."""
        self.sound = False
        for queue in sorted(self.touched):
            model = self.models[queue]
            raw = self.system.raw(queue, self.names)
            views = dict(zip(model.jobs, self._views(list(model.jobs)), strict=True))
            _one_place(model, raw, views)
            self._same_structures(model, raw)
            for job in model.jobs.values():
                _compare(job, views[job.id])
                self._ends_once(job)
            [stats] = self.system.run(self.system.queue.stats([queue]))
            due = len(model.due())
            ready, running = (sum(len(ids) for ids in lanes.values()) for lanes in (model.waiting, model.running))
            workers = sum(model.valid(name) for name in model.workers)
            assert (stats.ready, stats.due, stats.delayed, stats.running) == (ready, due, len(model.delayed()) - due, running)
            assert (stats.dead, stats.paused, stats.workers, stats.outbox) == (len(model.dead), model.paused, workers, len(model.outbox))
        self.touched.clear()
        self.sound = True

    def _same_structures(self, model: QueueModel, raw: Raw) -> None:
        assert raw.waiting == model.waiting
        assert raw.running == {lane: [(job_id, model.jobs[job_id].worker) for job_id in ids] for lane, ids in model.running.items()}
        assert raw.delayed == [(job.id, job.due) for job in model.delayed()]
        assert set(raw.workers) == set(model.workers)
        for name, lease in model.workers.items():
            lease.score = raw.workers[name]
        assert set(raw.idle) == set(model.idle)
        for name, since in model.idle.items():
            assert since in (None, raw.idle[name])
        model.idle = dict(raw.idle)
        assert raw.boxes == {name: len(box) for name, box in model.boxes.items()}
        assert (raw.tokens, raw.paused) == (int(model.token), model.paused)
        assert raw.cancels == {job.id for job in model.jobs.values() if job.cancel}
        assert (raw.dead, raw.ticks) == (set(model.dead), model.ticks)
        assert [_rows(rows) for _, rows in raw.outbox] == model.outbox

    def _ends_once(self, job: Job) -> None:
        """Its state once it has ended stays, for this life of it."""
        if not job.live:
            assert self.ended.setdefault((job.id, job.replays), job.state) == job.state, "a terminal state has changed"

    # ------------------------------------------------------------------ the end

    def teardown(self) -> None:
        """All work is done and forgotten: nothing may be left."""
        if not getattr(self, "sound", False):
            return
        self._work_off()
        self._all_rows()
        self._forget()

    def _work_off(self) -> None:
        for slot in range(SLOTS):
            self.leave(slot)
        last = self._born()
        self.names.append(last.name)
        self.workers[0] = last
        for queue in QUEUES:
            self.resume(queue)
        while any(True for model in self.models.values() for _ in model.live()):
            self.pass_time(3)
            for queue in QUEUES:
                self.reclaim(queue, True, 500, False)
                self.claim(queue, 0, 100, False)
                ending = [(item, "succeeded", 0) for item in last.held[queue]]
                last.held[queue] = []
                if ending:
                    self._finish(queue, ending)
            self.agrees()
        self.leave(0)
        for queue in QUEUES:
            self.list_live(queue, None, 100)
            self.store(queue, 1_000)
        self.agrees()

    def _all_rows(self) -> None:
        """One for each life of each job."""
        lives = {(job.id, life) for model in self.models.values() for job in model.jobs.values() for life in range(job.replays + 1)}
        assert self.stored == Counter(lives)
        for (job_id, life), state in self.ended.items():
            if self.rows[job_id].replays == life:
                assert self.rows[job_id].state == state

    def _forget(self) -> None:
        for schedule in self.uids:
            self.watch(schedule, True)
            self.delete_schedule(schedule)
        self.pass_time(100)
        for queue in QUEUES:
            self.reclaim(queue, True, 500, False)
        self.agrees()
        left = self.system.keys()
        allowed = {keys.QUEUES} | {f"{keys.prefix(name)}:{part}" for name in QUEUES for part in (*LANES, "outbox", "seq", "wake")}
        assert set(left) <= allowed, f"left behind: {sorted(set(left) - allowed)}"
        for queue in QUEUES:
            assert self.system.consumers(queue) == set()
            for part in (*LANES, "outbox"):
                assert self.system.length(f"{keys.prefix(queue)}:{part}") == 0


def _clock() -> int:
    """This machine's clock, which is the servers' too, in ms."""
    return time.time_ns() // 1_000_000


def _text(report: tuple[Finish, End]) -> tuple[str, str, bytes]:
    """What tells an ending from others of the same job."""
    finish, end = report
    return end.id, finish.op, finish.text


def _texts(report: tuple[Finish, End]) -> list[tuple[str, str, bytes]]:
    """An ending, and what else it writes: the attempt of one for good is in the history of the job once it is replayed."""
    found = [_text(report)]
    if report[0].op in "kf":
        attempt = msgspec.json.decode(report[0].text, type=TerminalJob).attempts[-1]
        found.append((report[1].id, "r", msgspec.json.encode(attempt)))
    return found


def _rows(rows: list[TerminalJob]) -> list[Row]:
    return [Row(row.id, str(row.state), row.replays) for row in rows]


def _one_place(model: QueueModel, raw: Raw, views: dict[str, JobView | None]) -> None:
    """Each accepted job waits in one stream, is delayed, runs at one worker, or has ended."""
    places = Counter(job_id for ids in raw.waiting.values() for job_id in ids)
    places += Counter(job_id for claims in raw.running.values() for job_id, _ in claims)
    places += Counter(job_id for job_id, _ in raw.delayed)
    places += Counter(job_id for job_id, view in views.items() if view and view.finished is not None)
    gone = {job.id for job in model.jobs.values() if job.gone}
    expected = {job_id: 1 for job_id in model.jobs if job_id not in gone}
    assert places == expected, f"jobs in no place or in several: {Counter(expected) - places} {places - Counter(expected)}"


def _compare(job: Job, view: JobView | None) -> None:
    """A look-up against the model."""
    assert (view is None) == job.gone, f"{job.id} is {job.state}, and Redis has {view}"
    if view is None:
        return
    assert (view.state, view.cancel_requested, view.replays) == (job.state, job.cancel, job.replays), job.id
    assert (view.type, view.payload, view.priority, view.queue) == ("noop", job.payload, LANE_PRIORITIES[job.lane], job.queue)
    assert view.run_at == (job.due if job.state in ("scheduled", "retrying") else None)
    running = ["running"] if job.state == "running" else []
    assert [attempt.outcome for attempt in view.attempts] == job.history + running
    if running:
        assert view.attempts[-1].worker == job.worker
    assert (view.finished is not None) == (job.state in TERMINAL)
    lost = job.state == "failed" and job.crashes >= 3
    assert not lost or (view.error is not None and view.error.kind == "worker_lost")
