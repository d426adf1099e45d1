"""Answers leave the submitter in one piece, and those that come in pieces leave as they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from dtq_submitter.joined import LARGE, JoinedWrites
from dtq_submitter.protocol import Limits, bounded

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n"


class Recording(asyncio.Transport):
    """What a connection was told to do, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bytes | str] = []
        self.changed = asyncio.Event()
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.done.append(bytes(data))  # of bytes that is the object itself
        self.changed.set()

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        self.done.append("close")
        self.changed.set()

    def write_eof(self) -> None:
        self.done.append("eof")

    def can_write_eof(self) -> bool:
        return True

    def abort(self) -> None:
        self.closing = True
        self.done.append("abort")

    def get_write_buffer_size(self) -> int:
        return 7

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def resume_reading(self) -> None:
        self.done.append("resume")

    def pause_reading(self) -> None:
        self.done.append("pause")


@pytest.fixture
async def inner() -> Recording:
    return Recording()


@pytest.fixture
async def joined(inner: Recording) -> JoinedWrites:
    return JoinedWrites(inner, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_is_sent_at_its_end(joined: JoinedWrites, inner: Recording) -> None:
    joined.write(b"a")
    joined.write(b"bc")
    assert inner.done == []
    assert joined.get_write_buffer_size() == 3 + 7
    await asyncio.sleep(0)
    assert inner.done == [b"abc"]
    assert joined.get_write_buffer_size() == 7
    joined.write(b"d")
    await asyncio.sleep(0)
    assert inner.done == [b"abc", b"d"]


async def test_a_flush_sends_at_once_and_but_once(joined: JoinedWrites, inner: Recording) -> None:
    joined.write(b"a")
    joined.flush()
    assert inner.done == [b"a"]
    joined.write(b"b")  # the turn goes on
    await asyncio.sleep(0)
    joined.flush()
    assert inner.done == [b"a", b"b"]


async def test_much_is_sent_within_the_turn(joined: JoinedWrites, inner: Recording) -> None:
    """What does not await is told to wait by the transport, which therefore has to see it."""
    for _ in range(4):
        joined.write(b"x" * (LARGE // 2))
    assert inner.done == [b"x" * LARGE] * 2


async def test_large_data_is_passed_on_after_what_is_held(joined: JoinedWrites, inner: Recording) -> None:
    large = b"x" * LARGE
    joined.write(b"a")
    joined.write(large)
    joined.write(b"b")
    joined.flush()
    assert inner.done == [b"a", large, b"b"]
    assert inner.done[1] is large


async def test_a_buffer_that_changes_later_is_sent_as_it_was(joined: JoinedWrites, inner: Recording) -> None:
    data = bytearray(b"before")
    joined.write(data)
    data[:] = b"after!"
    joined.flush()
    assert inner.done == [b"before"]


async def test_closing_sends_what_is_held_first(joined: JoinedWrites, inner: Recording) -> None:
    joined.write(b"a")
    joined.close()
    await asyncio.sleep(0)
    assert inner.done == [b"a", "close"]


async def test_nothing_is_written_after_the_end(joined: JoinedWrites, inner: Recording) -> None:
    """uvicorn may still invite a refused client to send its body, and a transport takes that for a mistake."""
    joined.write(b"a")
    joined.write_eof()
    joined.write(b"b")
    await asyncio.sleep(0)
    joined.write(b"x" * LARGE)
    joined.close()
    assert inner.done == [b"a", "eof", "close"]


async def test_nothing_is_written_to_a_connection_that_has_gone(joined: JoinedWrites, inner: Recording) -> None:
    joined.write(b"a")
    inner.closing = True  # by the other side
    await asyncio.sleep(0)
    assert inner.done == []


async def test_an_abort_drops_what_is_held(joined: JoinedWrites, inner: Recording) -> None:
    joined.write(b"a")
    joined.abort()
    await asyncio.sleep(0)
    assert inner.done == ["abort"]
    assert joined.get_write_buffer_size() == 7


async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/pieces":
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"cd"})
    else:
        await send({"type": "http.response.body", "body": b"abcd"})


def connection(inner: Recording) -> Any:
    """uvicorn's protocol with DTQ's limits, on ``inner``."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", server_header=False, date_header=False)
    config.load()
    protocol = bounded(Limits(5.0, 10, lambda _status: None))(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
    protocol.connection_made(inner)
    return protocol


async def sent(inner: Recording, parts: int) -> list[bytes | str]:
    """What was done, once it is as much."""
    async with asyncio.timeout(30):
        while len(inner.done) < parts:
            inner.changed.clear()
            await inner.changed.wait()
    return inner.done


async def test_head_and_body_of_an_answer_are_one_write(inner: Recording) -> None:
    protocol = connection(inner)
    protocol.data_received(GET + b"\r\n")
    [first] = await sent(inner, 1)
    protocol.data_received(GET + b"Connection: close\r\n\r\n")
    [_, second, last] = await sent(inner, 3)
    assert (first, second, last) == (HEAD + b"\r\nabcd", HEAD + b"connection: close\r\n\r\nabcd", "close")
    protocol.connection_lost(None)


async def test_an_answer_in_pieces_is_sent_as_they_come(inner: Recording) -> None:
    protocol = connection(inner)
    protocol.data_received(GET.replace(b"/ ", b"/pieces ") + b"\r\n")
    assert await sent(inner, 2) == [HEAD + b"\r\nab", b"cd"]
    protocol.connection_lost(None)
