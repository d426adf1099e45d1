"""What the queue promises, as a small pure model: no client, no clock, nothing shared with the code under test.

Time is counted in units (see UNIT_MS), far longer than an example takes: nothing comes due or runs out unless the model
says that time passes. What only the server can know (ids, exact due times, scores) is told to the model, which says the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

UNIT_MS = 600_000
LEASE, GRACE, GAP = 2, 1, 1.5
RESULT, IDEMPOTENCY, DEAD, WORD = 3, 4, 5, 6
"""All in units: a worker's lease; the time live workers get after a standstill; what counts as one; how long things are kept."""

MAX_CRASHES = 3
MAX_RETRIES = 2
LIMIT = 14
"""Jobs a queue may hold before submit is refused."""

LANES = "fhnl"
TERMINAL = ("succeeded", "failed", "cancelled")
EXPIRED = -1_000


@dataclass
class Job:
    """One job.

    ``lane`` is its priority's, ``serial`` numbers the claim it is under; ``due`` is exact, ``due_at`` in units; ``gone``: it has ended
    and Redis has forgotten it.
    """

    id: str
    queue: str
    lane: str
    payload: bytes
    state: str = "queued"
    max_retries: int | None = None
    schedule: str | None = None
    recorded: bool = False
    due: int = 0
    due_at: int = 0
    failures: int = 0
    crashes: int = 0
    replays: int = 0
    history: list[str] = field(default_factory=list)
    worker: str = ""
    serial: int = 0
    claimed_in: str = ""
    cancel: bool = False
    gone: bool = False

    @property
    def live(self) -> bool:
        return self.state not in TERMINAL

    @property
    def slice(self) -> tuple[bool, str]:
        """Which of the keys of finished jobs holds it."""
        return self.state == "failed", self.id[:9]


@dataclass(frozen=True)
class Row:
    """A row on its way to PostgreSQL."""

    id: str
    state: str
    replays: int


@dataclass
class Lease:
    """Until when a worker counts as alive; ``score`` as the server wrote it, None until it has been seen."""

    until: int
    score: int | None = None


@dataclass(frozen=True)
class End:
    """How an attempt is reported: op as in finish.lua, ``delay`` in units."""

    id: str
    serial: int
    op: str
    state: str = ""
    delay: int = 0


@dataclass
class QueueModel:
    """One queue."""

    name: str
    now: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    waiting: dict[str, list[str]] = field(default_factory=lambda: {lane: [] for lane in LANES})
    running: dict[str, list[str]] = field(default_factory=lambda: {lane: [] for lane in LANES})
    workers: dict[str, Lease] = field(default_factory=dict)
    idle: dict[str, int | None] = field(default_factory=dict)
    boxes: dict[str, list[str]] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    consumers: set[tuple[str, str]] = field(default_factory=set)
    dead: dict[str, int] = field(default_factory=dict)
    kept: dict[tuple[bool, str], int] = field(default_factory=dict)
    outbox: list[list[Row]] = field(default_factory=list)
    ticks: dict[str, int] = field(default_factory=dict)
    runs: dict[str, dict[str, int]] = field(default_factory=dict)
    token: bool = False
    paused: bool = False
    asked: int | None = None
    grace: int = 0
    claims: int = 0

    # ------------------------------------------------------------------ what there is

    def live(self) -> Iterator[Job]:
        return (job for job in self.jobs.values() if job.live)

    def delayed(self) -> list[Job]:
        """In the order in which they come due."""
        return sorted((job for job in self.jobs.values() if job.state in ("scheduled", "retrying")), key=lambda job: (job.due, job.id))

    def due(self) -> list[Job]:
        return [job for job in self.delayed() if job.due_at <= self.now]

    def valid(self, worker: str) -> bool:
        return worker in self.workers and self.workers[worker].until > self.now

    # ------------------------------------------------------------------ moves of one job

    def _enqueue(self, job: Job, lane: str) -> None:
        job.state, job.recorded = "queued", True
        self.waiting[lane].append(job.id)

    def _read(self, lane: str, worker: str, most: int) -> list[str]:
        self.consumers.add((lane, worker))
        ids = self.waiting[lane][:most]
        del self.waiting[lane][:most]
        for job_id in ids:
            self.claims += 1
            job = self.jobs[job_id]
            job.state, job.worker, job.serial, job.claimed_in = "running", worker, self.claims, lane
            self.running[lane].append(job_id)
        return ids

    def _end(self, job: Job, state: str, keep_for: int) -> Row:
        job.state, job.cancel, job.recorded, job.worker = state, False, False, ""
        if state == "failed":
            self.dead[job.id] = self.now
        self.kept[job.slice] = max(self.kept.get(job.slice, EXPIRED), self.now + keep_for)
        return Row(job.id, state, job.replays)

    def _end_here(self, job: Job, state: str) -> None:
        """Ended by a script and not by a worker's report: an outbox entry of its own."""
        self.outbox.append([self._end(job, state, DEAD if state == "failed" else RESULT)])

    def wake(self, *, look: bool = False) -> None:
        """Hand the next job to the worker that has waited longest under a valid lease."""
        while self.idle:
            worker = min(self.idle, key=lambda name: (self.idle[name], name))
            since = self.idle.pop(worker)
            if not self.valid(worker):
                continue
            ids: list[str] = []
            for lane in LANES:
                if not self.paused and not ids:
                    ids = self._read(lane, worker, 1)
            if ids or look:
                self.boxes.setdefault(worker, []).append(ids[0] if ids else "")
            else:
                self.idle[worker] = since
            return
        self.token = True

    def _promote(self, most: int) -> int:
        due = self.due()[:most]
        for job in due:
            self._enqueue(job, job.lane)
        return len(due)

    # ------------------------------------------------------------------ calls

    def submitted(self, jobs: Sequence[Job]) -> None:
        """Jobs were written, in this order. ``due_at`` of a delayed one is set."""
        ready = first = False
        for job in jobs:
            self.jobs[job.id] = job
            if job.state == "scheduled":
                job.recorded = True
                first |= self.delayed()[0] is job
            else:
                ready = True
                self.waiting[job.lane].append(job.id)
        if ready:
            self.wake()
        if first:
            self.wake(look=True)

    def claim(self, worker: str, most: int, *, wait: bool) -> tuple[list[str], int | None]:
        """Ids handed out, in order; and the exact time at which the next delayed job is due."""
        if self.paused:
            self._wait(worker, wait)
            return [], None
        self._promote(most + 100)
        delayed = self.delayed()
        ids: list[str] = []
        for lane in LANES:
            if len(ids) < most:
                ids += self._read(lane, worker, most - len(ids))
        if ids:
            self.workers[worker] = Lease(self.now + LEASE)
        if len(ids) < most:
            self._wait(worker, wait)
        else:
            self.idle.pop(worker, None)
            self.wake()
        return ids, delayed[0].due if delayed else None

    def _wait(self, worker: str, wait: bool) -> None:
        if wait and worker not in self.idle:
            self.idle[worker] = None
            self.workers[worker] = Lease(self.now + LEASE)

    def finish(self, worker: str, ends: Sequence[End], due: dict[str, int]) -> tuple[set[int], set[int]]:
        """Positions that were stale, and that became cancelled. ``due``: exact due times of jobs that now wait for a retry."""
        stale: set[int] = set()
        cancelled: set[int] = set()
        rows: list[Row] = []
        for index, end in enumerate(ends):
            job = self.jobs[end.id]
            if job.state != "running" or job.worker != worker or job.serial != end.serial:
                stale.add(index)
                continue
            self.running[job.claimed_in].remove(job.id)
            if end.op in "kf":
                job.history.append(end.state)
                rows.append(self._end(job, end.state, DEAD if end.op == "f" else RESULT))
                continue
            if end.op == "r":
                job.failures += 1
                job.history.append("failed")
            if job.cancel:
                self._end_here(job, "cancelled")
                cancelled.add(index)
            elif end.op == "r":
                job.state, job.worker, job.recorded = "retrying", "", True
                job.due_at, job.due = self.now + end.delay, due[job.id]
            else:
                job.worker = ""
                self._enqueue(job, "f")
                self.wake()
        if rows:
            self.outbox.append(rows)
        return stale, cancelled

    def cancel(self, job: Job) -> str | None:
        """The state afterwards."""
        if job.gone:
            return None
        if job.state == "running":
            job.cancel = True
        elif job.live:
            for lane in LANES:
                if job.id in self.waiting[lane]:
                    self.waiting[lane].remove(job.id)
            self._end_here(job, "cancelled")
        return job.state

    def replay(self, job: Job, *, by_row: bool) -> bool:
        """Whether it was put back; ``by_row``: the caller brought its row from PostgreSQL."""
        if job.state not in ("failed", "cancelled") or not (by_row or not job.gone):
            return False
        self.dead.pop(job.id, None)
        place, job.gone = job.slice, False
        job.replays += 1
        job.failures = job.crashes = 0
        job.history = job.history[-20:]
        self._enqueue(job, job.lane)
        if not any(other.slice == place and not other.live and not other.gone for other in self.jobs.values()):
            self.kept.pop(place, None)  # an empty hash goes, and its time to live with it
        self.wake()
        return True

    def promote(self, most: int) -> tuple[int, int | None]:
        promoted = self._promote(most)
        if promoted:
            self.wake()
        delayed = self.delayed()
        return promoted, delayed[0].due if delayed else None

    def reclaim(self, *, audit: bool, budget: int, gap: bool) -> tuple[int, int, int, int]:
        """Counts of requeued, failed and cancelled jobs, and of workers removed."""
        if gap:
            if self.asked is None or self.now - self.asked > GAP:
                self.grace = self.now + GRACE
            self.asked = self.now
            if self.now < self.grace:
                return 0, 0, 0, 0
        if audit:
            for _, worker in self.consumers:
                self.workers.setdefault(worker, Lease(EXPIRED, 0))
            self.dead = {job_id: at for job_id, at in self.dead.items() if at + DEAD > self.now}
        counts = {"queued": 0, "failed": 0, "cancelled": 0}
        removed = 0
        lapsed = [worker for worker in self.workers if not self.valid(worker)]
        for worker in sorted(lapsed, key=lambda name: (self.workers[name].score or 0, name))[:16]:
            for lane in LANES:
                lost = [job_id for job_id in self.running[lane] if self.jobs[job_id].worker == worker][:budget]
                for job_id in lost:
                    counts[self._lose(lane, self.jobs[job_id])] += 1
                budget -= len(lost)
            if budget > 0:
                self._remove(worker)
                del self.workers[worker]
                removed += 1
        if counts["queued"]:
            self.wake()
        return counts["queued"], counts["failed"], counts["cancelled"], removed

    def _lose(self, lane: str, job: Job) -> str:
        self.running[lane].remove(job.id)
        job.crashes += 1
        job.history.append("lost")
        if job.cancel or job.crashes >= MAX_CRASHES:
            self._end_here(job, "cancelled" if job.cancel else "failed")
        else:
            job.worker = ""
            self._enqueue(job, "f")
        return job.state

    def _remove(self, worker: str) -> None:
        busy = {(lane, worker) for lane in LANES if any(self.jobs[job_id].worker == worker for job_id in self.running[lane])}
        self.consumers -= {(lane, worker) for lane in LANES} - busy
        self.idle.pop(worker, None)
        self._empty(worker)

    def leave(self, worker: str) -> int:
        left = sum(any(self.jobs[job_id].worker == worker for job_id in self.running[lane]) for lane in LANES)
        self._remove(worker)
        self.wake()
        self.workers.pop(worker, None)
        if left:
            self.workers[worker] = Lease(EXPIRED, 0)
        return left

    def renew(self, worker: str) -> tuple[bool, set[str]]:
        held = worker in self.workers
        self.workers[worker] = Lease(self.now + LEASE)
        return held, {job.id for job in self.jobs.values() if job.cancel}

    def retract(self, worker: str, *, word: bool) -> list[str]:
        self.idle.pop(worker, None)
        found = self._empty(worker)
        if word:
            self.boxes[worker] = [""]
            self.words[worker] = self.now + WORD  # the whole box goes then
        return found

    def take(self, worker: str) -> str | None:
        """What a read of its box brings a worker."""
        found = self.boxes[worker].pop(0) if worker in self.boxes else None
        if not self.boxes.get(worker):
            self._empty(worker)
        return found

    def _empty(self, worker: str) -> list[str]:
        self.words.pop(worker, None)
        return self.boxes.pop(worker, [])

    def resume(self) -> None:
        self.paused = False
        self.wake()

    # ------------------------------------------------------------------ schedules

    def active(self, uid: str) -> list[str]:
        """Runs that are live, in the order of their start."""
        return [job_id for job_id in self.runs.get(uid, {}) if self.jobs[job_id].live]

    def fire(self, uid: str, tick: int, policy: str, job: Job) -> tuple[str, list[str]]:
        """The outcome, and the runs that are live afterwards. ``job`` is what is started, if anything is; tick 0: by hand."""
        live = self.active(uid)
        if tick:
            if self.ticks.get(uid, 0) >= tick:
                return "duplicate", live
            if policy == "Forbid" and live:
                return "active", live
            if policy == "Replace":
                live = [job_id for job_id in live if self.cancel(self.jobs[job_id]) == "running"]
            self.ticks[uid] = tick
        self.jobs[job.id] = job
        self._enqueue(job, job.lane)
        self.wake()
        self.runs.setdefault(uid, {})[job.id] = tick
        return "started", [*live, job.id]

    def run_state(self, job: Job) -> str:
        if job.gone:
            return "gone"
        return "live" if job.live else job.state

    # ------------------------------------------------------------------ time

    def pass_time(self, units: int) -> None:
        self.now += units
        self.kept = {key: until for key, until in self.kept.items() if until > self.now}
        for worker in [worker for worker, until in self.words.items() if until <= self.now]:
            self._empty(worker)
        for job in self.jobs.values():
            job.gone |= not job.live and job.slice not in self.kept
        for job in self.delayed():
            job.due -= units * UNIT_MS
        for lease in self.workers.values():
            if lease.score:
                lease.score -= units * UNIT_MS
        self.idle = {worker: since - units * UNIT_MS if since else None for worker, since in self.idle.items()}


@dataclass(frozen=True)
class Use:
    """What an idempotency key was used for first, and until when that is remembered."""

    queue: str
    body: str
    job_id: str
    until: int


@dataclass
class Keyring:
    """Idempotency keys: each is tied to one queue and body."""

    uses: dict[str, Use] = field(default_factory=dict)

    def conflict(self, wanted: Sequence[tuple[str | None, str, str]], now: int) -> int | None:
        """Position of the first of (key, queue, body) whose key is tied to something else, if any."""
        tied = {key: (use.queue, use.body) for key, use in self.uses.items() if use.until > now}
        for index, (key, queue, body) in enumerate(wanted):
            if key is not None and tied.setdefault(key, (queue, body)) != (queue, body):
                return index
        return None

    def used(self, key: str, now: int) -> str | None:
        """The job that a key already stands for."""
        use = self.uses.get(key)
        return use.job_id if use and use.until > now else None
