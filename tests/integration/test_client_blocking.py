"""Single submissions of QueueClient, which go from the caller's own thread."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from faultkit.patience import PATIENCE
from hiredis import Reader

from dtq.client import Job, QueueClient
from dtq.client.blocking import BlockingConnections, NoneFree, run_through
from dtq.config import Settings
from dtq.embedded import ValkeyServer
from dtq.errors import IdempotencyConflict, QueueFull, QueueUnavailable
from dtq.queue import engine

FORK = """\
import os, signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
from dtq.client import Job, QueueClient

signal.alarm(60)
with QueueClient(sys.argv[1]) as dtq:
    for n in range(2):
        dtq.submit(Job("noop", n))
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        together = threading.Barrier(4)
        def submit(n):
            together.wait(60)
            dtq.submit(Job("noop", n))
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(submit, range(4)))
        print(dtq.queue().ready, flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    dtq.submit(Job("noop", n))
    print(dtq.queue().ready)
"""


@pytest.fixture
def dtq(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[QueueClient]:
    monkeypatch.setattr(engine, "KNOWN_SECONDS", 3600.0)
    with QueueClient(redis_url) as client:
        client.submit(Job("noop", {}))  # it registers the queue, on the client's loop
        yield client


def connected(connections: BlockingConnections | None) -> int:
    """Connections that are open and not in use."""
    assert connections is not None
    return sum(place is not None for place in connections._places)


@pytest.fixture
def on_the_loop(dtq: QueueClient, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What goes by way of the client's loop."""
    seen: list[Any] = []
    run = dtq._run

    def note(work: Any) -> Any:
        seen.append(work.__qualname__)
        return run(work)

    monkeypatch.setattr(dtq, "_run", note)
    return seen


def test_a_plain_job_needs_no_loop(dtq: QueueClient, on_the_loop: list[Any]) -> None:
    ids = [dtq.submit(Job("noop", n, priority="high", timeout=3.0)).id for n in range(5)]
    assert on_the_loop == []
    views = [dtq.get(job_id) for job_id in ids]
    assert [(view.payload, view.priority, view.timeout) for view in views] == [(b"%d" % n, "high", 3.0) for n in range(5)]


def test_keys_and_new_queues_go_by_the_loop(dtq: QueueClient, on_the_loop: list[Any], redis_url: str) -> None:
    first = dtq.submit(Job("noop", 1, idempotency_key="k"))
    assert dtq.submit(Job("noop", 1, idempotency_key="k")).id == first.id
    with pytest.raises(IdempotencyConflict):
        dtq.submit(Job("noop", 2, idempotency_key="k"))
    dtq.submit(Job("noop", {}, queue="other"))
    assert on_the_loop == ["Queue.send"] * 4
    assert redis.Redis.from_url(redis_url).sismember("dtq:queues", "other")


def test_a_full_queue(redis_url: str) -> None:
    with QueueClient(redis_url, settings=Settings(maxqueuelength=3)) as dtq:
        for n in range(3):
            dtq.submit(Job("noop", n))
        for _ in range(2):
            with pytest.raises(QueueFull):
                dtq.submit(Job("noop", 4))
        assert dtq.queue().ready == 3
        assert connected(dtq._direct) == 1  # an answer like any other: the connection stays


def test_a_server_that_forgot_the_script(dtq: QueueClient, on_the_loop: list[Any], redis_url: str) -> None:
    dtq.submit(Job("noop", 1))
    redis.Redis.from_url(redis_url).script_flush()
    dtq.submit(Job("noop", 2))
    assert on_the_loop == []
    assert dtq.queue().ready == 3


def test_threads_share_a_client(dtq: QueueClient) -> None:
    together = threading.Barrier(8)

    def submit(thread: int) -> list[str]:
        together.wait(PATIENCE)
        return [dtq.submit(Job("noop", [thread, n])).id for n in range(50)]

    with ThreadPoolExecutor(8) as threads:
        ids = [job_id for found in threads.map(submit, range(8)) for job_id in found]
    assert len(set(ids)) == 400
    assert [dtq.get(job_id).payload for job_id in ids] == [b"[%d,%d]" % (thread, n) for thread in range(8) for n in range(50)]


def test_connections_that_the_server_closed(dtq: QueueClient, redis_url: str) -> None:
    dtq.submit(Job("noop", 1))
    redis.Redis.from_url(redis_url).client_kill_filter(_type="normal", skipme=True)
    dtq.submit(Job("noop", 2))
    assert connected(dtq._direct) == 1


def test_a_server_that_goes_and_comes(tmp_path: Path, unused_tcp_port: int) -> None:
    server = ValkeyServer(tmp_path / "valkey", unused_tcp_port)
    server.start()
    try:
        with QueueClient(server.url) as dtq:
            dtq.submit(Job("noop", 1))
            dtq.submit(Job("noop", 2))
            server.stop()
            with pytest.raises(QueueUnavailable):
                dtq.submit(Job("noop", 3))
            server.start()
            dtq.submit(Job("noop", 4))
            assert dtq.queue().ready == 3
    finally:
        server.stop()


def test_an_answer_that_nobody_waited_for_is_no_others(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = BlockingConnections(redis_url)
    assert run_through(connections.call("PING")) == b"PONG"

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    used = connections._places[-1]
    assert used is not None
    monkeypatch.setattr(used.inner, "read_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_through(connections.call("BLPOP", "nothing", 2))
    assert run_through(connections.call("ECHO", "mine")) == b"mine"
    connections.close()


def test_a_server_that_dies_before_it_answers(unused_tcp_port: int) -> None:
    with socket.create_server(("127.0.0.1", unused_tcp_port)) as server:
        connections = BlockingConnections(f"redis://127.0.0.1:{unused_tcp_port}")

        def serve() -> None:
            connection, _ = server.accept()
            commands = Reader()  # they have the form of answers
            with connection:
                while received := connection.recv(4096):
                    commands.feed(received)
                    while command := commands.gets():
                        if command[0] == b"ECHO":
                            return
                        connection.sendall(b"+OK\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(redis.ConnectionError):
            run_through(connections.call("ECHO", "1"))
        thread.join(PATIENCE)
        connections.close()


def test_who_finds_no_connection_free_goes_by_the_loop(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "KNOWN_SECONDS", 3600.0)
    with QueueClient(f"{redis_url}?max_connections=1") as dtq, ThreadPoolExecutor(1) as threads:
        dtq.submit(Job("noop", 1))
        direct = dtq._direct
        assert direct is not None
        holding = threads.submit(run_through, direct.call("BLPOP", "nothing", 60))
        while direct._places:
            time.sleep(0.001)
        with pytest.raises(NoneFree):
            run_through(direct.call("PING"))
        dtq.submit(Job("noop", 2))
        assert dtq.queue().ready == 2
        redis.Redis.from_url(redis_url).rpush("nothing", "something")
        assert holding.result(PATIENCE) == [b"nothing", b"something"]
        assert connected(direct) == 1


@pytest.mark.parametrize("what", ["submit", "submit to ever new queues", "submit_many", "wait"])
def test_a_client_that_is_closed_lets_other_threads_go(what: str, redis_url: str) -> None:
    dtq = QueueClient(redis_url)
    job_id = dtq.submit(Job("noop", {})).id
    begun = threading.Barrier(5)

    def use(thread: int) -> None:
        begun.wait(PATIENCE)
        for n in range(1_000_000):
            if what == "submit":
                dtq.submit(Job("noop", n))
            elif what == "submit_many":
                dtq.submit_many([Job("noop", n), Job("noop", n)])
            elif what == "wait":
                dtq.wait(job_id, 3600)
            else:
                dtq.submit(Job("noop", n, queue=f"queue-{thread}-{n}"))

    with ThreadPoolExecutor(4) as threads:
        users = [threads.submit(use, thread) for thread in range(4)]
        begun.wait(PATIENCE)
        time.sleep(0.05)
        dtq.close()
        for user in users:
            with pytest.raises(QueueUnavailable):
                user.result(PATIENCE)
    dtq.close()


def test_a_forked_process_goes_on(redis_url: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, redis_url], capture_output=True, text=True, timeout=2 * PATIENCE)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["6", "7"], "", 0)


def test_closed_is_closed(redis_url: str) -> None:
    with QueueClient(redis_url) as dtq:
        dtq.submit(Job("noop", 1))
    with pytest.raises(QueueUnavailable, match="closed"):
        dtq.submit(Job("noop", 2))
    with pytest.raises(QueueUnavailable, match="closed"):
        dtq.submit_many([Job("noop", 2)])
    with pytest.raises(QueueUnavailable, match="closed"):
        dtq.queue()


def test_one_core_is_left_to_the_server(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look for the answer would keep it from running."""
    monkeypatch.setattr("dtq.client.blocking._cores", lambda: 1)
    connections = BlockingConnections(redis_url)
    assert [run_through(connections.call("PING")) for _ in range(3)] == [b"PONG"] * 3
    assert not connections._soon
    connections.close()


def test_nothing_may_suspend() -> None:
    with pytest.raises(RuntimeError, match="waits"):
        run_through(asyncio.sleep(0))
