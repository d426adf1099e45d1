"""Runs claimed jobs in at most WORKERCOUNT slots.

Jobs are run by runner tasks. A runner goes on with the next waiting job when its handler returns, and one spare runner
is started whenever jobs wait and slots are free: so jobs that never suspend cost no task each, and jobs that do run side
by side. A runner whose handler left a changed context behind is retired, so that nothing leaks into the next job.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog
from pydantic import ValidationError

from dtq.config import Settings
from dtq.errors import Permanent
from dtq.job import JobError
from dtq.queue.claims import ClaimedJob
from dtq.registry import Handler, Registry
from dtq_worker.context import Context
from dtq_worker.faults import trace
from dtq_worker.outcome import Outcome, describe, unrecordable, words
from dtq_worker.pace import OVERDUE, Pace
from dtq_worker.pool import HandlerProcesses
from dtq_worker.process import ProcessDied
from dtq_worker.progress import Progress
from dtq_worker.slots import Running, Seat, current
from dtq_worker.ticker import Ticker, should_ring
from dtq_worker.values import encode_result

__all__ = ["Executor"]

BREATH = 64
"""Jobs that one runner executes without a pause before it lets the loop send what has ended."""

WATCH_INTERVAL = 0.05
"""Seconds between looks for timeouts."""

INSIST = 1.0
"""Seconds after which a handler that swallowed its cancellation is cancelled again."""

log = structlog.get_logger("dtq.worker")


def now_ms() -> int:
    """Milliseconds since the epoch, for the record of an attempt; no decision rests on it."""
    return time.time_ns() // 1_000_000


Key = tuple[str, str, str]
"""Queue, lane and entry: what locates a claim."""


def key_of(job: ClaimedJob) -> Key:
    """Where the job's claim is."""
    return job.queue, job.lane, job.entry


class Executor:
    """The slots of one worker process. ``ended(running, outcome)`` is called, on the loop, when an attempt is over."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        processes: HandlerProcesses,
        progress: Progress,
        ended: Callable[[Running, Outcome], None],
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the handlers of ``registry``. ``breathe`` is called before each that runs on the loop."""
        self._settings = settings
        self._handlers = registry.handlers
        self._processes = processes
        self._progress = progress
        self._ended = ended
        self._breathe = breathe
        self._waiting: deque[Running] = deque()
        self._spare: asyncio.Task[None] | None = None
        self._runners: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()
        self._pace = Pace()
        self._ticker = Ticker()
        self.active: dict[Key, Running] = {}
        """Every claim in a slot or about to start. By claim, not by id: a job whose lease was lost can come back here while
        its handler still runs."""
        self.changed = asyncio.Event()
        """Set when a slot becomes free."""

    @property
    def free(self) -> int:
        """Jobs to claim: one for every slot that has none, and what the slots get through in a moment (see pace)."""
        return self._settings.workercount + self._pace.ahead - len(self.active)

    @property
    def busy(self) -> int:
        """Jobs that run at the moment."""
        return len(self.active) - len(self._waiting)

    def ids(self) -> set[str]:
        """Ids of the jobs that are in a slot or about to start."""
        return {running.job.id for running in self.active.values()}

    def start(self, jobs: Iterable[ClaimedJob]) -> None:
        """Take claimed jobs; the caller sees to it that there are slots for them."""
        claimed_at = time.monotonic()
        self._pace.mark(claimed_at)
        jobs = [job for job in jobs if key_of(job) not in self.active]  # a server set back gives a claim twice: it runs already
        self._drop_stale({job.id for job in jobs if job.recorded})
        for job in jobs:
            self._apply_defaults(job)
            running = Running(job, claimed_at, job.timeout or self._settings.workertimeout)
            self.active[key_of(job)] = running
            self._waiting.append(running)
        self._ensure_spare()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_deadlines(), name="deadlines")

    def _drop_stale(self, ids: set[str]) -> None:
        """Stop earlier attempts at these jobs: that they could be claimed again means that their lease was lost."""
        for running in [known for known in self.active.values() if known.job.id in ids] if ids else ():
            _interrupt(running, "lost")

    def _apply_defaults(self, job: ClaimedJob) -> None:
        """Its type's limits, where the job names none: the submitter applies them too, but it is not the only way in."""
        handler = self._handlers.get(job.type)
        if handler is not None:
            if job.timeout is None:
                job.timeout = handler.job_type.timeout
            if job.max_retries is None:
                job.max_retries = handler.job_type.max_retries

    def _ensure_spare(self) -> None:
        if self._waiting and self._spare is None and len(self._runners) < self._settings.workercount:
            # Not in the present context: this may be a runner's, with whatever its handler has left there.
            self._spare = asyncio.create_task(self._runner(), name="runner", context=self._context.copy())
            self._runners.add(self._spare)
            self._spare.add_done_callback(self._runners.discard)

    async def _runner(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in a task
        self._spare = None
        seat = Seat()
        current.set(seat)
        clean = contextvars.copy_context()
        count = 0
        try:
            while self._waiting:
                running = self._waiting.popleft()
                self._ensure_spare()
                seat.running = running
                outcome = await self._attempt(running, task)
                seat.running = None
                self._release(running, outcome)
                count += 1
                if task.cancelling():
                    break  # the handler swallowed a cancellation, or asked for its own: it must not hit the next job
                if count % BREATH == 0:
                    await asyncio.sleep(0)
                if contextvars.copy_context() != clean:
                    break  # the handler changed context variables: a fresh runner takes over
        finally:
            self._runners.discard(task)
            self._ensure_spare()

    def _release(self, running: Running, outcome: Outcome) -> None:
        self.active.pop(key_of(running.job), None)
        self._pace.ended()
        try:
            self._end(running, outcome)
        finally:
            self.changed.set()

    def _end(self, running: Running, outcome: Outcome) -> None:
        """Report the end. What cannot be reported is reported as a failure: a job must not stay claimed for ever."""
        try:
            self._ended(running, outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must end
            job = running.job
            log.error("outcome_unrecordable", job=job.id, queue=job.queue, type=job.type, error=words(error), exception=trace(error))
            self._ended(running, unrecordable(outcome, error))

    async def _attempt(self, running: Running, task: asyncio.Task[None]) -> Outcome:
        """Run one attempt to its end, whatever that is."""
        started = running.started_ms = now_ms()
        if running.is_stopped():  # before it began
            return self._interrupted(running, started)
        try:
            handler = self._prepare(running.job)
            result = await (self._on_loop if handler.is_async else self._in_process)(running, handler, task)
        except asyncio.CancelledError as error:
            if not running.is_stopped():  # the handler awaited something that was cancelled, or cancelled itself
                return self._failure(running, started, describe(error), error)
            while task.cancelling():
                task.uncancel()
            return self._interrupted(running, started)
        except _Defect as defect:
            return self._failure(running, started, defect.error, Permanent())
        except _Remote as remote:
            kind = "permanent" if isinstance(remote.error, Permanent) else "error"
            return self._failure(running, started, describe(remote.error, kind, remote.trace), remote.error)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not _at_work(task):
                raise
            if running.is_stopped():
                return self._interrupted(running, started)
            kind = "permanent" if isinstance(error, Permanent) else "error"
            return self._failure(running, started, describe(error, kind), error)
        return Outcome("succeeded", started, now_ms(), result, output=running.output, logs=running.log_lines())

    def _prepare(self, job: ClaimedJob) -> Handler:
        if job.defect:
            raise _Defect(JobError("invalid_payload", f"the job was damaged in the queue: {job.defect}"))
        handler = self._handlers.get(job.type)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "none"
            message = f"this worker has no handler for type {job.type!r}; it has {known}. Name its module in HANDLERS"
            raise _Defect(JobError("unknown_type", message))
        return handler

    async def _on_loop(self, running: Running, handler: Handler, task: asyncio.Task[None]) -> bytes | None:
        try:
            payload = handler.job_type.payload.__pydantic_validator__.validate_json(running.job.payload)
        except ValidationError as error:
            raise _Defect(_bad_payload(error)) from error
        self._breathe()
        running.interrupt = task.cancel
        running.deadline = time.monotonic() + running.timeout
        try:
            value = await handler.func(payload, Context(running, self._settings, self._progress.report))
        finally:
            running.deadline = running.interrupt = None
        return encode_result(value)

    async def _in_process(self, running: Running, handler: Handler, _task: asyncio.Task[None]) -> bytes | None:
        try:
            answer = await self._processes.run(running)
        except TimeoutError:
            running.reason = running.reason or "timeout"
            raise
        except ProcessDied as error:
            raise RuntimeError(str(error)) from error
        finally:
            running.interrupt = None
        running.logs, running.output = answer.logs, answer.output
        if isinstance(answer.error, ValidationError):
            raise _Defect(_bad_payload(answer.error))
        if answer.error is not None:
            raise _Remote(answer.error, answer.trace)
        return answer.result

    def _interrupted(self, running: Running, started: int) -> Outcome:
        reason = running.reason or "shutdown"
        if reason == "timeout":
            error = JobError("timeout", f"still running after its timeout of {running.timeout:g} s", "TimeoutError")
            return self._failure(running, started, error, TimeoutError())
        if reason == "cancelled":
            error = JobError("cancelled", "cancelled by request while running")
            return Outcome("cancelled", started, now_ms(), error=error, logs=running.log_lines())
        return Outcome("handed_back", started, now_ms())

    def _failure(self, running: Running, started: int, error: JobError, cause: BaseException) -> Outcome:
        log.info(
            "attempt_failed",
            job=running.job.id,
            queue=running.job.queue,
            type=running.job.type,
            attempt=running.job.attempt,
            kind=error.kind,
            error=error.message,
        )
        return Outcome("failed", started, now_ms(), error=error, cause=cause, output=running.output, logs=running.log_lines())

    async def _watch_deadlines(self) -> None:
        """End handlers on the loop that run past their timeout. Those in processes are killed by their pool."""
        try:
            await self._watch_active()
        finally:
            self._ticker.turn(on=False)

    async def _watch_active(self) -> None:
        now = time.monotonic()
        while self.active:
            before, ended = now, self._pace.count
            await asyncio.sleep(WATCH_INTERVAL)
            now = time.monotonic()
            self._ticker.turn(on=should_ring(self._pace.count - ended, now - before, len(self._runners)))
            self._return_overdue(now)
            for running in list(self.active.values()):
                if running.deadline is not None and running.deadline <= now:
                    running.deadline = now + INSIST
                    running.stop("timeout")

    def _return_overdue(self, now: float) -> None:
        """Hand back jobs claimed ahead that found no slot soon."""
        while self._waiting and now - self._waiting[0].claimed_at > OVERDUE:
            running = self._waiting.popleft()
            self._pace.stumble()
            self._release(running, Outcome("handed_back", now_ms(), now_ms()))

    def cancel(self, ids: Iterable[str]) -> None:
        """Stop those of the jobs that are here because their cancellation was asked."""
        wanted = set(ids)
        for running in list(self.active.values()):
            if running.job.id in wanted and running.reason is None:
                _interrupt(running, "cancelled")

    def interrupt_all(self, reason: str, *, claimed_before: float | None = None, queue: str | None = None) -> None:
        """Stop all jobs (of one queue, claimed before a monotonic time): they are handed back, or dropped if stale."""
        for running in list(self.active.values()):
            if (queue is None or running.job.queue == queue) and (claimed_before is None or running.claimed_at < claimed_before):
                _interrupt(running, reason)

    async def drain(self, seconds: float) -> None:
        """Wait until no job is active, at most so many ``seconds``."""
        deadline = time.monotonic() + seconds
        while self.active and (left := deadline - time.monotonic()) > 0:
            self.changed.clear()
            with _PastDeadline():
                await asyncio.wait_for(self.changed.wait(), left)

    async def close(self) -> None:
        """End the runners and the watch. A handler that will not end is left behind (``active`` names its job)."""
        tasks = [*self._runners, *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=INSIST)


def _interrupt(running: Running, reason: str) -> None:
    """Stop a job, and let the watch insist if its handler swallows that."""
    running.stop(reason)
    if running.deadline is not None:
        running.deadline = min(running.deadline, time.monotonic() + INSIST)


def _at_work(task: asyncio.Task[None]) -> bool:
    """Whether the task runs just now. If not, its coroutine is being closed, and must not go on."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop
        return False


class _Defect(Exception):
    """The job cannot be run at all; it ends as failed for the reason given."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


class _Remote(Exception):
    """A handler process raised ``error``."""

    def __init__(self, error: BaseException, trace: str) -> None:
        super().__init__(words(error))
        self.error = error
        self.trace = trace


class _PastDeadline:
    """Swallows a TimeoutError: running out of time is an answer here."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, TimeoutError)


def _bad_payload(error: ValidationError) -> JobError:
    fields = "; ".join(f"payload.{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:10])
    return JobError("invalid_payload", f"the payload does not fit its type: {fields}", "ValidationError")
