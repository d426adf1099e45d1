"""Clients that submit over HTTP, try again with the same idempotency key when they have no answer, and note all they see."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from faultkit.beside import beside
from faultkit.history import Log, read_history
from faultkit.leaving import check_going
from faultkit.stand import Stand, until

__all__ = ["Client", "accepted_more", "loaded", "mixed_plan", "refused_more", "refused_so_far"]

Json = dict[str, Any]

PATIENCE = 180.0
"""Seconds that answers may take which are bound to come."""

PLANS: list[Json] = [
    {},
    {"seconds": 0.02},
    {"seconds": 0.2},
    {"kind": "flaky", "times": 2},
    {"kind": "permanent"},
    {"kind": "always", "max_retries": 1},
]
WEIGHTS = [50, 20, 10, 10, 5, 5]


def mixed_plan(choice: random.Random) -> tuple[Json, Json]:
    """A plan (see faultkit.jobs.Plan, without its tag) and the submission's other fields, as a mixed load has them."""
    plan = dict(choice.choices(PLANS, WEIGHTS)[0])
    fields: Json = {
        "type": choice.choices(["task", "task_pool"], [9, 1])[0],
        "priority": choice.choices(["high", "normal", "low"], [1, 4, 1])[0],
        "queue": choice.choices(["default", "other"], [3, 1])[0],
    }
    if "max_retries" in plan:
        fields["max_retries"] = plan["max_retries"]
    if choice.random() < 0.1:
        fields["delay"] = choice.choice([0.2, 1.0])
    return plan, fields


class Client:
    """One client of the API at ``url``; not for use by several threads."""

    def __init__(self, url: str, log: Log, *, timeout: float = 10.0) -> None:
        """Note everything in ``log``, whose name makes this client's tags unique."""
        self.accepted: list[str] = []
        """Ids whose 202 or 200 has arrived."""
        self.url = url
        self._log = log
        self._timeout = timeout
        self._tags = itertools.count()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and parsed body. OSError, ValueError or http.client.HTTPException if no whole answer came."""
        address = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=self._timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 500 and answer.status != 503:
                self._log.note("faulty", status=answer.status, text=f"{method} {path}: {text[:500].decode(errors='replace')}")
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def submit(self, plan: Json, *, keyed: bool = True, tries: int = 1, **fields: Any) -> str | None:
        """Submit a job with this plan; its id if the answer said that it was taken.

        ``keyed``: with an idempotency key, by which an unanswered submission is sent again up to ``tries`` times.
        """
        tag = f"{self._log.who}-{next(self._tags)}".replace(" ", "-")
        body = {"type": "task", "payload": {**plan, "tag": tag}, **fields}
        if keyed:
            body["idempotency_key"] = tag
        for attempt in range(tries if keyed else 1):
            check_going()
            if attempt:
                time.sleep(min(1.0, 0.05 * 2**attempt))
            self._log.note("sent", tag=tag, key=tag if keyed else "", plan=plan, fields=fields)
            try:
                status, answer = self.call("POST", "/submit", body)
            except (OSError, ValueError, http.client.HTTPException) as error:
                self._log.note("unanswered", tag=tag, text=repr(error))
                continue
            if status in (200, 202):
                self._log.note("accepted", tag=tag, job=answer["id"], status=status)
                self.accepted.append(answer["id"])
                return str(answer["id"])
            # A 5xx is no promise either way: with a key it may be tried again.
            self._log.note("unanswered" if status >= 500 else "refused", tag=tag, status=status, text=str(answer)[:500])
            if status < 500:
                return None
        return None

    def look(self, job: str) -> str | None:
        """The job's state, as GET /jobs/ID says; None if there was no answer."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            status, answer = self.call("GET", f"/jobs/{job}")
            if status == 200:
                self._log.note("seen", job=job, state=answer["state"], replays=answer.get("replays", 0))
                return str(answer["state"])
            if status == 404:
                self._log.note("seen", job=job, state="unknown")
        return None

    def cancel(self, job: str) -> None:
        """Ask to cancel it."""
        self._log.note("cancel_sent", job=job)
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            status, answer = self.call("DELETE", f"/jobs/{job}")
            if status == 200 and answer["state"] == "cancelled":
                self._log.note("cancelled", job=job)
            elif status not in (200, 202) and status < 500:
                self._log.note("cancel_refused", job=job, status=status)

    def retry(self, job: str) -> None:
        """Ask to run a failed or cancelled job again."""
        self._log.note("retry_sent", job=job)
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            status, _ = self.call("POST", f"/jobs/{job}/retry")
            if status in (200, 202):
                self._log.note("retried", job=job)
            elif status < 500:
                self._log.note("retry_refused", job=job, status=status)


@contextlib.contextmanager
def loaded(
    stand: Stand,
    clients: int,
    *,
    seed: int,
    pause: float = 0.0,
    tries: int = 40,
    plan: Callable[[random.Random], tuple[Json, Json]] = mixed_plan,
    meddle: bool = True,
) -> Iterator[list[Client]]:
    """Let so many clients submit until the block is left. ``meddle``: they also cancel, retry and look at some of their jobs."""
    urls = [f"http://{service.address}" for service in stand.of("submitter")]
    logs = [Log(stand.history, f"client {seed}-{number}") for number in range(clients)]
    found = [Client(urls[number % len(urls)], log) for number, log in enumerate(logs)]

    def act(client: Client, number: int, stop: threading.Event) -> None:
        choice = random.Random(seed * 1000 + number)
        while not stop.is_set():
            task, fields = plan(choice)
            job = client.submit(task, keyed=choice.random() < 0.8, tries=tries, **fields)
            if meddle and job is not None and (die := choice.random()) < 0.2:
                old = choice.choice(client.accepted[-50:])
                (client.cancel if die < 0.05 else client.retry if die < 0.08 else client.look)(job if die < 0.05 else old)
            stop.wait(pause if job is not None else 0.05)

    try:
        with beside("a client broke off", [partial(act, client, number) for number, client in enumerate(found)]):
            yield found
    finally:
        for log in logs:
            log.close()


def accepted_more(clients: Sequence[Client], count: int) -> None:
    """Return when these clients have had so many more jobs accepted."""
    wanted = sum(len(client.accepted) for client in clients) + count
    until(f"{count} more jobs are accepted", lambda: sum(len(client.accepted) for client in clients) >= wanted, PATIENCE)


def refused_so_far(stand: Stand) -> int:
    """Submissions that were answered with 503."""
    return sum(event.kind == "unanswered" and event.status == 503 for event in read_history(stand.history))


def refused_more(stand: Stand, count: int) -> None:
    """Return when so many more submissions have been answered with 503."""
    wanted = refused_so_far(stand) + count
    until(f"{count} more submissions are refused", lambda: refused_so_far(stand) >= wanted, PATIENCE, pause=0.3)
