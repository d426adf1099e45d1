"""The walk through all that can happen to a job, in parts. Together they meet every step; each goes well without any crash."""

from __future__ import annotations

import datetime
import os
import signal
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from dtq.ids import make_id
from dtq.job import Attempt, NewJob, State, TerminalJob
from dtq.queue import keys, scripts
from dtq.queue.claims import Claims, Finish
from dtq.schedule.spec import ScheduleSpec, parse_spec
from faultkit.crashlane import Died, Walker
from faultkit.patience import PATIENCE

__all__ = ["PARTS", "Part"]

Json = dict[str, Any]

LONG = {"seconds": 30}
DAY_MS = 86_400_000
SOON_MS = 10
"""What happens at the latest so soon is awaited no longer: the next look of a duty, twice a second, finds it."""


class Part(NamedTuple):
    """``kinds``: whose steps it is made for; a crash of another kind may be tried in it if no other part meets the step."""

    name: str
    kinds: tuple[str, ...]
    walk: Callable[[Walker], None]
    restart: str | None = None
    """The service of this kind is started anew for it, after ``prepare``."""
    prepare: Callable[[Walker], None] | None = None
    arms: bool = False
    """It says itself, by :meth:`Walker.arm`, from when on the crash may happen: for steps that mostly find nothing to do."""


# ---------------------------------------------------------------------- submitting and running


def single(w: Walker) -> None:
    """One job, up to its row."""
    w.stored(w.submit({}))


def together(w: Walker) -> None:
    """Submissions that share a call of the script, among them one of another queue."""
    bodies = [w.body({}) for _ in range(6)] + [w.body({}, queue="other"), w.body({}, priority="high")]
    w.together(bodies)
    w.ended(*(w.jobs.get(body["idempotency_key"]) for body in bodies))


def batch(w: Walker) -> None:
    """A batch of all kinds of jobs in several queues."""
    bodies = [
        w.body({}),
        w.body({}, queue="other", priority="low"),
        w.body({}, delay=0.2),
        w.body({"kind": "permanent"}, priority="high"),
        w.body({"kind": "flaky", "times": 1}),
        *(w.body({}) for _ in range(20)),
    ]
    w.send("/submit/batch", bodies)
    w.ended(*(w.jobs.get(body["idempotency_key"]) for body in bodies))


def again(w: Walker) -> None:
    """The same key again leads to the same job; with another body it is refused, and frees the keys of its batch."""
    w.lane.do(w.lane.queue.client.script_flush())  # as on a server that was restarted: each script is sent as text again
    body = w.body({})
    w.send("/submit", [body])
    w.send("/submit", [body])
    other = w.body({})
    status, _ = w.ask("POST", "/submit/batch", {"jobs": [other, {**body, "priority": "high"}]})
    if body["idempotency_key"] in w.jobs and status not in (0, 409, 503):
        w.violations.append(f"a key used with two bodies was answered with {status}")
    w.send("/submit", [other])
    w.ended(w.jobs.get(body["idempotency_key"]), w.jobs.get(other["idempotency_key"]))


def delayed(w: Walker) -> None:
    """Jobs whose time comes soon."""
    w.ended(w.submit({}, delay=0.15), w.submit({}, delay=0.3))


def failing(w: Walker) -> None:
    """Failures with retries, one too many, and one for good."""
    w.ended(
        w.submit({"kind": "flaky", "times": 2}),
        w.submit({"kind": "always", "max_retries": 1}, max_retries=1),
        w.submit({"kind": "permanent"}),
    )


def pool(w: Walker) -> None:
    """Jobs in processes."""
    w.ended(w.submit({}, type="task_pool"), w.submit({"kind": "flaky", "times": 1, "reports": 2}, type="task_pool"))


def progress(w: Walker) -> None:
    """A job that reports."""
    job = w.submit({"reports": 3, "seconds": 0.3})
    if job is not None:
        w.ask("GET", f"/jobs/{job}")
    w.ended(job)


def crowded(w: Walker) -> None:
    """More jobs than slots, each long enough for the worker to take back its offers to other queues."""
    w.ended(w.submit({}, queue="other"))
    bodies = [w.body({"seconds": 0.3}) for _ in range(7)]
    w.send("/submit/batch", bodies)
    w.ended(*(w.jobs.get(body["idempotency_key"]) for body in bodies))


# ---------------------------------------------------------------------- steering


def cancel_waiting(w: Walker) -> None:
    """Jobs that wait: for their time, for a resumed queue."""
    later = w.submit({}, delay=600)
    w.pause("other")
    held = w.submit({}, queue="other")
    w.cancel_all(later, held)
    w.ask("POST", "/queues/other/resume")


def cancel_running(w: Walker) -> None:
    """One that runs: its worker stops it."""
    job = w.submit(LONG)
    w.running(job)
    w.cancel_all(job)


def retry_by_hand(w: Walker) -> None:
    """A failed job, and a cancelled one that Redis has forgotten, are put back."""
    w.pause("other")
    failed, cancelled = w.submit({"kind": "permanent"}), w.submit({}, queue="other")
    w.ended(failed)
    if failed is not None:
        w.retry(failed)
    if cancelled is not None:
        w.cancel_all(cancelled)
        w.stored(cancelled)
        _forget(w, cancelled)
        w.retry(cancelled)
    w.ask("POST", "/queues/other/resume")
    w.ended(failed, cancelled if cancelled is not None and w.state(cancelled) is not None else None)


def paused(w: Walker) -> None:
    """A queue is paused and resumed."""
    w.pause("other")
    job = w.submit({}, queue="other")
    w.ask("POST", "/queues/other/resume")
    w.ended(job)


def looking(w: Walker) -> None:
    """All that can be asked, by pages too."""
    held = [w.submit({}, delay=600) for _ in range(2)]
    running = w.submit({"seconds": 0.5})
    w.ask("GET", f"/jobs/{running}?wait=5")
    w.stored(running)
    if running is not None:
        _forget(w, running)
        w.ask("GET", f"/jobs/{running}")
    cursor = ""
    for _ in range(4):
        _, answer = w.ask("GET", f"/jobs?limit=1{cursor}")
        if not answer or not answer["next_cursor"]:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    for path in ("/queues", "/queues/default", "/readyz", "/jobs?state=queued,running", "/jobs?state=failed&limit=5"):
        w.ask("GET", path)
    w.cancel_all(*held)


def _forget(w: Walker, job: str) -> None:
    """As if Redis had kept it for RESULTTTL."""
    queue = job.partition("-")[2]
    w.lane.do(w.lane.queue.client.hdel(keys.done(queue, job), job))
    w.lane.do(w.lane.queue.client.hdel(keys.failed(queue, job), job))


# ---------------------------------------------------------------------- schedules


def schedules(w: Walker) -> None:
    """Made, changed, run by hand, shown, listed, deleted."""
    name = w.schedule()
    for line in ("0 0 1 1 *", "0 0 2 1 *"):
        w.ask("PUT", f"/schedules/{name}", {"schedule": line, "jobTemplate": {"type": "task", "payload": {"tag": w.fresh()}}})
    status, answer = w.ask("POST", f"/schedules/{name}/trigger")
    w.ask("GET", f"/schedules/{name}")
    w.ask("GET", "/schedules?limit=10")
    if status == 202:
        w.ended(answer["id"])
    w.ask("DELETE", f"/schedules/{name}")


def ticks(w: Walker) -> None:
    """Two ticks under each policy, the second while the first one's run is active."""
    for policy in ("Allow", "Forbid", "Replace"):
        name, uid = w.schedule(), str(uuid.uuid4())
        now = time.time()
        first = datetime.datetime.fromtimestamp(now - 180, datetime.UTC)
        put = w.lane.schedules.put
        spec = _spec(f"{first.minute} * * * *", policy, {"tag": w.fresh(), "seconds": 0.5})
        w.lane.do(put(name, spec, owner="walk", uid=uid, generation=1, created=int(now * 1000) - 600_000))
        before = w.until(f"the first tick under {policy}", partial(_last, w, name))
        w.lane.do(put(name, _spec("* * * * *", policy, {"tag": w.fresh()}), owner="walk", uid=uid, generation=2))
        w.lane.do(w.lane.queue.client.zadd("{dtq:schedules}:due", {name: 0}))
        w.until(f"the second tick under {policy}", partial(_ticked, w, name, before))
        w.until(f"the runs under {policy} are seen to end", partial(_rests, w, name))


def missed(w: Walker) -> None:
    """A tick beyond its deadline is told as missed, and not started."""
    name = w.schedule()
    minute = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    spec = _spec(f"{minute.minute} * * * *", "Allow", {"tag": w.fresh()}, startingDeadlineSeconds=10)
    created = int(time.time() * 1000) - 1_800_000
    w.lane.do(w.lane.schedules.put(name, spec, owner="walk", uid=str(uuid.uuid4()), generation=1, created=created))
    w.until("the tick is told as missed", lambda: w.lane.do(w.lane.schedules.history(name)).events)


def vanished_run(w: Walker) -> None:
    """Redis forgets a run before the scheduler has seen its end: its row tells."""
    name = w.schedule()
    spec = _spec("* * * * *", "Allow", {"tag": w.fresh()})
    created = int(time.time() * 1000) - 120_000
    w.lane.do(w.lane.schedules.put(name, spec, owner="walk", uid=str(uuid.uuid4()), generation=1, created=created))
    for job in w.until("its tick has started", partial(_active, w, name)):
        w.ended(job)
        _forget(w, job)
    w.until("the run is seen to have ended", partial(_rests, w, name))


def deleted_while_running(w: Walker) -> None:
    """A schedule is deleted while its run is active: the scheduler lets the queue forget it."""
    name = w.schedule()
    spec = _spec("* * * * *", "Allow", {"tag": w.fresh(), "seconds": 0.3})
    created = int(time.time() * 1000) - 120_000
    w.lane.do(w.lane.schedules.put(name, spec, owner="walk", uid=str(uuid.uuid4()), generation=1, created=created))
    runs = w.until("its tick has started", partial(_active, w, name))
    w.lane.do(w.lane.schedules.delete(name, owner="walk"))
    w.ended(*runs)


def _spec(line: str, policy: str, payload: Json, **more: Any) -> ScheduleSpec:
    template = {"type": "task", "payload": payload}
    return parse_spec(msgspec.json.encode({"schedule": line, "concurrencyPolicy": policy, "jobTemplate": template, **more}))


def _last(w: Walker, name: str) -> int | None:
    entry = w.lane.do(w.lane.schedules.get(name))
    return entry.last if entry else None


def _ticked(w: Walker, name: str, before: int | None) -> bool:
    return _last(w, name) != before


def _active(w: Walker, name: str) -> list[str]:
    entry = w.lane.do(w.lane.schedules.get(name))
    return list(entry.runs) if entry else []


def _rests(w: Walker, name: str) -> bool:
    """Whether no run of it is active."""
    entry = w.lane.do(w.lane.schedules.get(name))
    return entry is None or not entry.runs


# ---------------------------------------------------------------------- what processes do by themselves


def idle(w: Walker) -> None:
    """Nothing, for as long as the rarest duty takes to come round."""
    deadline = time.monotonic() + 5.5
    w.until("every duty has come round", lambda: time.monotonic() > deadline)


def dead_worker(w: Walker) -> None:
    """A worker dies with jobs: they are taken from it, and run again, or end as cancelled."""
    again, cancelled = w.submit({"seconds": 1}), w.submit(LONG)
    w.running(again)
    w.running(cancelled)
    client, leases = w.lane.queue.client, f"{keys.prefix('default')}:workers"
    alive = w.lane.do(client.zrangebyscore(leases, f"({_now(w)}", "+inf"))
    w.kill_worker()
    if cancelled is not None:
        w.cancel(cancelled)

    def ends() -> bool:
        """Whether a lease of a worker that was alive ends by now, or has ended."""
        scores = w.lane.do(client.zmscore(leases, alive)) if alive else []
        return not scores or any(score is None or score <= _now(w) + SOON_MS for score in scores)

    w.until("the dead worker's lease ends", ends)
    w.arm()
    w.ended(again, cancelled)


def promoted(w: Walker) -> None:
    """A delayed job becomes ready while nobody claims."""
    w.pause("other")
    job = w.submit({}, queue="other", delay=0.3)
    if job is not None:
        client = w.lane.queue.client
        w.until("it is due", lambda: (w.lane.do(client.zscore(keys.delayed("other"), job)) or 0) <= _now(w) + SOON_MS)
        w.arm()
        w.until("it is queued", lambda: w.state(job) != State.SCHEDULED)
    w.ask("POST", "/queues/other/resume")
    w.ended(job)


def _now(w: Walker) -> int:
    """The server's clock, ms."""
    seconds, micros = w.lane.do(w.lane.queue.client.time())
    return int(seconds) * 1000 + int(micros) // 1000


def lost_claim(w: Walker) -> None:
    """A job that was handed to the worker does not arrive: it finds it among its claims, and gives it back."""
    client = w.lane.queue.client
    worker = w.until("a worker waits for a job", lambda: w.lane.do(client.zrange(keys.idle("default"), 0, 0)))[0].decode()
    database = client.connection_pool.connection_kwargs.get("db", 0)
    blocked = [item["id"] for item in w.lane.do(client.client_list()) if item["cmd"] == "blpop" and int(item["db"]) == database]
    job, names, args = _direct(w, "default")
    script = scripts.load("submit")

    async def hand_over() -> list[Any]:
        pipe = client.pipeline(transaction=True)
        pipe.eval(script.text, len(names), *names, *args)
        pipe.lpop(keys.box("default", worker))
        for number in blocked:
            pipe.execute_command("CLIENT", "KILL", "ID", number)
        return list(await pipe.execute(raise_on_error=False))

    reply = w.lane.do(hand_over())
    w.ended(_taken(w, job, "default", reply[0]))


def leave(w: Walker) -> None:
    """The worker stops while it runs jobs: it hands them back and leaves."""
    worker = w.lane.service("worker")
    w.running(w.submit({"seconds": 2}))
    w.check_alive()
    worker.signal(signal.SIGTERM)
    w.until("the worker has ended", lambda: not worker.alive())
    if worker.popen is not None and worker.popen.returncode == -signal.SIGKILL:
        raise Died
    w.lane.start("worker")


def results_left(w: Walker) -> None:
    """A worker died before it stored its results: the scheduler stores them. Another program wrote nonsense there."""
    job = _leave_results(w)
    damaged = w.fresh()
    client = w.lane.queue.client
    w.lane.do(client.xadd(keys.outbox(damaged), {"x": "1"}, id=f"{int(time.time() * 1000) - 10_000}-0"))
    w.lane.do(client.sadd(keys.QUEUES, damaged))
    w.stored(job)
    w.until("what cannot be read is set aside", lambda: not w.lane.do(client.xlen(keys.outbox(damaged))))
    assert w.lane.do(client.xlen(f"{keys.outbox(damaged)}-unreadable"))


def _direct(w: Walker, queue: str) -> tuple[Json, list[str], list[Any]]:
    """A submission, and the submit script's arguments for it."""
    body = w.body({}, queue=queue)
    job = NewJob("task", msgspec.json.encode(body["payload"]), queue)
    found = w.lane.queue.batch([job])
    return body, found.names, found.args


def _taken(w: Walker, body: Json, queue: str, reply: Any) -> str:
    """What the submit script answered, noted as any client does."""
    job = make_id(reply[1].decode(), "n", queue)
    w.note_direct(body, job)
    return job


def _leave_results(w: Walker) -> str:
    """A finished job whose result is in the outbox only, for longer than a worker has for it."""
    queue, client = w.fresh(), w.lane.queue.client
    body, names, args = _direct(w, queue)
    job = _taken(w, body, queue, w.lane.do(scripts.load("submit").run(client, names, args)))
    claims = Claims(client, f"walker-{os.getpid()}-{queue}", 60_000, 300_000, 300_000)
    claimed = w.lane.do(claims.claim(queue, 1)).jobs[0]
    result = w.note_run(body, job)
    now = int(time.time() * 1000)
    row = TerminalJob(
        id=job,
        queue=queue,
        type="task",
        state=State.SUCCEEDED,
        submitted=claimed.submitted,
        finished=now,
        payload=msgspec.Raw(claimed.payload),
        started=now,
        result=msgspec.Raw(msgspec.json.encode(result)),
        attempts=[Attempt(1, claims.worker, now, now, "succeeded")],
    )
    w.lane.do(claims.finish(queue, [Finish(claimed, "k", msgspec.json.encode(row))]))
    w.lane.do(claims.leave(queue))
    w.lane.do(claims.close())
    ((_, fields),) = w.lane.do(client.xrange(keys.outbox(queue)))
    w.lane.do(client.delete(keys.outbox(queue)))
    w.lane.do(client.xadd(keys.outbox(queue), fields, id=f"{now - 10_000}-0"))
    w.lane.do(client.sadd(keys.QUEUES, queue))
    return job


# ---------------------------------------------------------------------- starts


def upkeep_prepare(w: Walker) -> None:
    """Days past retention: one that goes, one of which a job finished lately; and results left over."""
    now = int(time.time() * 1000)
    old, mixed = now - 50 * DAY_MS, now - 45 * DAY_MS
    rows = [_old_row(old, old), _old_row(mixed, mixed), _old_row(mixed + 1, now)]
    w.lane.do(w.lane.store.insert(rows))
    w.kept, w.gone = [rows[2].id], [rows[0].id, rows[1].id]
    _leave_results(w)


def upkeep(w: Walker) -> None:
    """The scheduler's start, with all that it finds to do then."""
    w.until("old days have gone", lambda: upkeep_done(w))
    w.until("the scheduler is ready", w.lane.service("scheduler").ready)


def upkeep_done(w: Walker) -> bool:
    """Whether what is past retention has gone."""
    return all(w.lane.do(w.lane.store.get(job)) is None for job in w.gone)


def _old_row(submitted: int, finished: int) -> TerminalJob:
    number = uuid.uuid4().int % 1_000_000
    job = make_id(f"{submitted}-{number}", "n", "past")
    return TerminalJob(
        id=job,
        queue="past",
        type="past",
        state=State.SUCCEEDED,
        submitted=submitted,
        finished=finished,
        payload=msgspec.Raw(b"{}"),
        started=submitted,
        attempts=[Attempt(1, "past", submitted, finished, "succeeded")],
    )


def _started(kind: str) -> Callable[[Walker], None]:
    def walk(w: Walker) -> None:
        """Start it, and let a job through."""
        w.until(f"the {kind} is ready", w.lane.service(kind).ready, PATIENCE)
        single(w)

    return walk


BOTH = ("worker", "submitter")
ALL = ("worker", "submitter", "scheduler")
PARTS = [
    Part("single", BOTH, single),
    Part("again", BOTH, again),
    Part("batch", BOTH, batch),
    Part("together", BOTH, together),
    Part("delayed", ALL, delayed),
    Part("failing", BOTH, failing),
    Part("progress", BOTH, progress),
    Part("cancel waiting", BOTH, cancel_waiting),
    Part("cancel running", BOTH, cancel_running),
    Part("retry by hand", BOTH, retry_by_hand),
    Part("paused", BOTH, paused),
    Part("schedules", ("submitter",), schedules),
    Part("ticks", ("scheduler",), ticks),
    Part("missed", ("scheduler",), missed),
    Part("vanished run", ("scheduler",), vanished_run),
    Part("deleted while running", ("scheduler",), deleted_while_running),
    Part("promoted", ("scheduler",), promoted, arms=True),
    Part("crowded", ("worker",), crowded),
    Part("looking", ("submitter",), looking),
    Part("pool", ("worker",), pool),
    Part("lost claim", ("worker",), lost_claim),
    Part("results left", ("scheduler",), results_left),
    Part("dead worker", ("scheduler",), dead_worker, arms=True),
    Part("idle", ALL, idle),
    Part("leave", ("worker",), leave),
    Part("start of the submitter", ("submitter",), _started("submitter"), "submitter"),
    Part("start of the worker", ("worker",), _started("worker"), "worker"),
    Part("start of the scheduler", ("scheduler",), upkeep, "scheduler", upkeep_prepare),
]
"""A step is tried in the first part that meets it and is made for its service: those that need the least time come first."""
