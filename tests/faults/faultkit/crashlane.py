"""A whole DTQ whose services can be told at which step to crash, and somebody who walks through all that jobs can go through."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from dtq.config import Settings
from dtq.job import TERMINAL, JobView, State, TerminalJob
from dtq.queue import Queue
from dtq.schedule.store import ANY, ScheduleStore
from dtq.schedule.trigger import forget
from dtq.storage import Store
from dtq.storage.migrate import migrate
from faultkit.history import Log
from faultkit.leaving import check_going
from faultkit.load import Client
from faultkit.patience import PATIENCE
from faultkit.stand import KINDS, Service, Stand, open_stand

__all__ = ["SETTINGS", "Crash", "Died", "Lane", "Walker", "open_lanes"]

T = TypeVar("T")
Json = dict[str, Any]

LOST = (OSError, ValueError, http.client.HTTPException)

SETTINGS: Json = {"LEASESECONDS": "1.5", "WORKERCOUNT": "4", "PROCESSES": "1", "WORKERTIMEOUT": "60", "SHUTDOWNSECONDS": "1"}
"""A dead worker's jobs are to come back soon, and four slots are soon full."""


class Crash(NamedTuple):
    """Where a process is to die: at the ``nth`` time that it is at this place of this step."""

    step: str
    place: str
    nth: int = 1


class Died(Exception):
    """The process that was to crash is dead."""


class Lane:
    """One stand, its services under faultkit.crashing. One lane a thread; what is asynchronous runs on a loop of its own."""

    def __init__(self, stand: Stand) -> None:
        """Services are added, not started."""
        self.stand = stand
        self.known: set[str] = set()
        """Violations that an earlier case was blamed for."""
        self.figures: Json = {}
        """The checker's, at the end of the case before."""
        self._epochs = itertools.count(1)
        self._epoch: dict[str, str] = {}
        self._runner = asyncio.Runner()
        for kind in KINDS:
            stand.add(kind, **SETTINGS, **self._files(f"{kind}-1"))
        settings = Settings(redisaddr=stand.redis_url, databaseurl=stand.database_url)
        self.queue = self.do(Queue.connect(settings))
        self.schedules = ScheduleStore(self.queue.client)
        self.store = Store(stand.database_url)
        self.do(self.store.open())

    def _files(self, service: str) -> Json:
        return {name: self.stand.folder / f"{service}.{name}" for name in ("CRASHCONTROL", "CRASHSTEPS", "CRASHLOG")}

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        """Run it on this lane's loop."""
        return self._runner.run(what)

    def service(self, kind: str) -> Service:
        """The first of its kind."""
        return self.stand.of(kind)[0]

    def start(self, kind: str) -> None:
        """Start the service of this kind unless it runs."""
        if not self.service(kind).alive():
            self.service(kind).start(launcher=("-m", "faultkit.crashing", f"dtq_{kind}"))

    def tell(self, kind: str, crash: Crash | None = None) -> str:
        """Begin a new epoch for the service, in which it is to crash or not; returns its name."""
        epoch = str(next(self._epochs))
        path = self._files(self.service(kind).name)["CRASHCONTROL"]
        wanted = {"epoch": epoch} | (crash._asdict() if crash else {})
        new = path.with_suffix(".new")
        new.write_text(json.dumps(wanted))
        os.replace(new, path)
        self._epoch[kind] = epoch
        return epoch

    def steps(self, kind: str, epoch: str | None = None) -> dict[str, int]:
        """The steps that services of this kind have met, ever or in one epoch, and how often at least: 1, 2 or 4 times."""
        path = self._files(self.service(kind).name)["CRASHSTEPS"]
        found: dict[str, int] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            known, step, count = line.split("\t")
            if epoch in (None, known):
                found[step] = max(found.get(step, 0), int(count))
        return found

    def crashed(self, kind: str, crash: Crash) -> bool:
        """Whether the service has killed itself there in this epoch."""
        popen = self.service(kind).popen
        path = self._files(self.service(kind).name)["CRASHLOG"]
        if popen is None or popen.poll() != -signal.SIGKILL or not path.exists():
            return False
        last = path.read_text().splitlines()[-1]
        return bool(last == f"{self._epoch[kind]}\t{crash.step}\t{crash.place}\t{popen.pid}")

    def close(self) -> None:
        """Close the connections; the stand's owner ends its services."""
        self.do(self.store.close())
        self.do(self.queue.close())
        self._runner.close()


class Walker:
    """A client that does one part of the walk. Whatever waits ends with :class:`Died` once the watched service is dead.

    What was not answered is owed: :meth:`recover` asks again, with the same idempotency keys.
    """

    def __init__(self, lane: Lane, name: str, watched: str | None) -> None:
        """``name`` makes tags and queues unique; ``watched`` is the kind of the service that is to crash."""
        self.lane = lane
        self.name = name
        self.watched = watched
        self.armed: Crash | None = None
        """What :meth:`arm` orders."""
        self.jobs: dict[str, str] = {}
        """Tag to id, as answered."""
        self.violations: list[str] = []
        self.kept: list[str] = []
        """Rows that retention may not take."""
        self.gone: list[str] = []
        """Rows that retention has to take."""
        self._log = Log(lane.stand.history, f"client {name}")
        self._client = Client(lane.stand.url, self._log)
        self._numbers = itertools.count()
        self._owed: list[tuple[str, list[Json]]] = []
        self._long: list[str] = []
        self._paused: set[str] = set()
        self._schedules: set[str] = set()

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def fresh(self) -> str:
        """A name that nobody has used."""
        return f"{self.name}-{next(self._numbers)}"

    def check_alive(self) -> None:
        """Raise Died if the watched service is dead, and Leaving if the run was told to stop."""
        check_going()
        if self.watched is not None and not self.lane.service(self.watched).alive():
            raise Died

    def arm(self) -> None:
        """From now on the watched service is to crash, if it is not armed already."""
        if self.armed is not None and self.watched is not None:
            self.lane.tell(self.watched, self.armed)
            self.armed = None

    def until(self, what: str, condition: Callable[[], T], seconds: float = PATIENCE) -> T:
        """The first true value; AssertionError if there is none in time."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            self.check_alive()
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            time.sleep(0.02)
        return value

    # ------------------------------------------------------------------ submitting

    def body(self, plan: Json, **fields: Any) -> Json:
        """A submission with an idempotency key of its own."""
        tag = self.fresh()
        return {"type": "task", "payload": {**plan, "tag": tag}, "idempotency_key": tag, **fields}

    def submit(self, plan: Json, **fields: Any) -> str | None:
        """The job's id; None if there was no answer."""
        body = self.body(plan, **fields)
        self.send("/submit", [body])
        if plan.get("seconds", 0) > 5 or fields.get("delay", 0) > 5:
            self._long.append(body["idempotency_key"])
        return self.jobs.get(body["idempotency_key"])

    def send(self, path: str, bodies: list[Json], log: Log | None = None) -> bool:
        """Send one submission or batch; whether it was answered. If not, it is owed."""
        log = log or self._log
        for body in bodies:
            log.note("sent", tag=body["payload"]["tag"], key=body["idempotency_key"], **_asked(body))
        status, why = 0, ""
        answer: Any = None
        try:
            status, answer = self._client.call("POST", path, bodies[0] if path == "/submit" else {"jobs": bodies})
        except LOST as error:
            why = repr(error)
        if status in (200, 202):
            for body, one in zip(bodies, [answer] if path == "/submit" else answer["jobs"], strict=True):
                self._accepted(body, one["id"], status, log)
            return True
        kind = "unanswered" if status == 0 or status >= 500 else "refused"
        for body in bodies:
            log.note(kind, tag=body["payload"]["tag"], status=status, text=why or str(answer)[:500])
        if kind == "unanswered":
            self._owed.append((path, bodies))
        return kind == "refused"

    def _accepted(self, body: Json, job: str, status: int, log: Log) -> None:
        tag = body["payload"]["tag"]
        log.note("accepted", tag=tag, job=job, status=status)
        if self.jobs.setdefault(tag, job) != job:
            self.violations.append(f"{tag}: the same idempotency key made {self.jobs[tag]} and {job}")

    def together(self, bodies: Sequence[Json]) -> None:
        """Submit all at once, each by a client of its own."""

        def submit(body: Json) -> None:
            with contextlib.closing(Log(self.lane.stand.history, f"client {self.fresh()}")) as log:
                self.send("/submit", [body], log)

        with ThreadPoolExecutor(len(bodies)) as pool:
            list(pool.map(submit, bodies))

    def note_direct(self, body: Json, job: str) -> None:
        """Note a submission that went past the API."""
        self._log.note("sent", tag=body["payload"]["tag"], key="", **_asked(body))
        self._accepted(body, job, 202, self._log)

    def note_run(self, body: Json, job: str) -> Json:
        """Note that this process has run it, successfully; returns the result."""
        about: Json = {"job": job, "tag": body["payload"]["tag"], "attempt": 1, "token": uuid.uuid4().hex, "pid": os.getpid()}
        with contextlib.closing(Log(self.lane.stand.history, f"worker {self.fresh()}")) as log:
            log.note("start", **about, plan=body["payload"])
            log.note("end", **about, state="ok")
        return {name: about[name] for name in ("tag", "attempt", "token")}

    # ------------------------------------------------------------------ looking and steering

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer; (0, None) if none came, and then Died if the watched service is dead."""
        try:
            return self._client.call(method, path, body)
        except LOST:
            self.check_alive()
            return 0, None

    def view(self, job: str) -> JobView | None:
        """What Redis says of it."""
        return self.lane.do(self.lane.queue.get(job))

    def state(self, job: str) -> State | None:
        """Its state by Redis."""
        found = self.view(job)
        return found.state if found else None

    def _is_terminal(self, job: str) -> bool:
        return self.state(job) in TERMINAL

    def row(self, job: str) -> TerminalJob | None:
        """What PostgreSQL says of it."""
        return self.lane.do(self.lane.store.get(job))

    def ended(self, *jobs: str | None) -> None:
        """Return when these have ended."""
        for job in jobs:
            if job is not None:
                self.until(f"{job} has ended", partial(self._is_terminal, job))

    def running(self, job: str | None) -> None:
        """Return when it runs."""
        if job is not None:
            self.until(f"{job} runs", lambda: self.state(job) == State.RUNNING)

    def stored(self, *jobs: str | None) -> None:
        """Return when these have their rows."""
        for job in jobs:
            if job is not None:
                self.until(f"{job} has its row", partial(self.row, job))

    def cancel(self, job: str) -> None:
        """DELETE /jobs/ID."""
        self._client.cancel(job)
        self.check_alive()

    def cancel_all(self, *jobs: str | None) -> None:
        """Cancel them, and return when they have ended."""
        for job in jobs:
            if job is not None:
                self.cancel(job)
                self.ended(job)

    def _cancel_once_more(self, job: str) -> bool:
        self.cancel(job)
        return self._is_terminal(job)

    def retry(self, job: str) -> None:
        """POST /jobs/ID/retry."""
        self._client.retry(job)
        self.check_alive()

    def pause(self, queue: str) -> None:
        """Pause it, until :meth:`recover` at the latest."""
        self._paused.add(queue)
        self.ask("POST", f"/queues/{queue}/pause")

    def _resume(self, queue: str) -> bool:
        return self.ask("POST", f"/queues/{queue}/resume")[0] == 200

    def schedule(self) -> str:
        """A name for a schedule; :meth:`recover` deletes it."""
        name = self.fresh()
        self._schedules.add(name)
        return name

    def kill_worker(self) -> None:
        """SIGKILL, and start it again."""
        self.check_alive()
        worker = self.lane.service("worker")
        worker.kill()
        self.lane.start("worker")

    # ------------------------------------------------------------------ afterwards

    def recover(self) -> None:
        """All services run: have answered what was not, and undo what is no job."""
        self.watched = None
        owed, self._owed = self._owed, []
        for path, bodies in owed:
            self.until("the submission is answered at last", partial(self.send, path, bodies))
        self._owed = []
        for queue in sorted(self._paused):
            self.until(f"{queue} is resumed", partial(self._resume, queue))
        for name in sorted(self._schedules):
            entry = self.lane.do(self.lane.schedules.delete(name, owner=ANY))
            if entry is not None:
                self.lane.do(forget(self.lane.queue, entry))
        for tag in self._long:
            job = self.jobs.get(tag)
            if job is not None and self.state(job) not in (*TERMINAL, None):
                self.until(f"{job} is cancelled", partial(self._cancel_once_more, job))


def _asked(body: Json) -> Json:
    """What the history says of a submission."""
    fields = {name: value for name, value in body.items() if name not in ("payload", "idempotency_key")}
    return {"plan": {name: value for name, value in body["payload"].items() if name != "tag"}, "fields": fields}


@contextlib.contextmanager
def open_lanes(count: int) -> Iterator[list[Lane]]:
    """Lanes on the same two servers: each has a database of its own in both."""
    with open_stand() as first, contextlib.ExitStack() as stack:
        stands = [first]
        for number in range(1, count):
            name = f"lane{number}"
            folder = first.folder / name
            folder.mkdir(mode=0o755)
            migrate(first.postgres.url_of(name))
            stand = Stand(folder, first.valkey, first.postgres, name)
            stack.callback(stand.close)
            stand.redis_url = f"{first.valkey.url}/{number}"
            stands.append(stand)
        lanes = []
        for stand in stands:
            lanes.append(Lane(stand))
            stack.callback(lanes[-1].close)
        yield lanes
