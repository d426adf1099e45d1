"""The proxy of the fault tests does to a connection what its mode says, and only that."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from faultkit.proxy import PASS, Link, Mode, Network, open_network
from worker_bench import until


class Echo:
    """A server that answers each line with "re: LINE" and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended = 0
        self.server: asyncio.Server | None = None

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.asked.append(line.decode().strip())
                writer.write(b"re: " + line)
        finally:
            self.ended += 1
            writer.close()


class Caller:
    """A client of the echo."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, text: str) -> str:
        self.writer.write(text.encode() + b"\n")
        return await self.answer()

    async def answer(self) -> str:
        line = await asyncio.wait_for(self.reader.readline(), 10)
        return line.decode().strip()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    found = Echo()
    yield found
    assert found.server is not None
    found.server.close()


@pytest.fixture
async def link(echo: Echo) -> AsyncIterator[Link]:
    found = Link(await echo.start())
    await found.open()
    yield found
    await found.close()


async def dial(link: Link) -> Caller:
    host, _, port = link.address.partition(":")
    return Caller(*await asyncio.open_connection(host, int(port)))


async def test_a_link_passes_everything_on(link: Link, echo: Echo) -> None:
    caller = await dial(link)
    assert [await caller.ask(str(number)) for number in range(3)] == ["re: 0", "re: 1", "re: 2"]
    caller.writer.close()
    await until("the server learns that the client has gone", lambda: echo.ended == 1)


@pytest.mark.parametrize(("mode", "count"), [(Mode("delay", 20, 5), "delayed"), (Mode("throttle", bytes_per_second=500), "throttled")])
async def test_a_slow_link_brings_all_of_it_late(link: Link, mode: Mode, count: str) -> None:
    caller = await dial(link)
    await link.set_mode(mode)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await caller.ask("x" * 20) == "re: " + "x" * 20
    assert loop.time() - began >= 0.035
    assert link.counts[count] >= 2


async def test_a_link_that_cuts_ends_connections_old_and_new(link: Link) -> None:
    old = await dial(link)
    await old.ask("a")
    await link.set_mode(Mode("cut"))
    assert await old.answer() == ""
    new = await dial(link)
    assert await new.answer() == ""
    await link.set_mode(PASS)
    assert await (await dial(link)).ask("b") == "re: b"
    assert link.counts["cut"] == 2


async def test_a_reset_is_seen_as_one(link: Link) -> None:
    old = await dial(link)
    await old.ask("a")
    await link.set_mode(Mode("reset"))
    with pytest.raises(ConnectionResetError):
        await old.answer()
    new = await dial(link)
    with pytest.raises(ConnectionResetError):
        await new.ask("b")


async def test_a_link_that_refuses_keeps_its_port(link: Link) -> None:
    old = await dial(link)
    await old.ask("a")
    address = link.address
    await link.set_mode(Mode("refuse"))
    assert await old.answer() == ""
    with pytest.raises(ConnectionRefusedError):
        await dial(link)
    await link.set_mode(PASS)
    assert link.address == address
    assert await (await dial(link)).ask("b") == "re: b"


async def test_a_stalled_link_delivers_everything_at_its_end(link: Link, echo: Echo) -> None:
    old = await dial(link)
    await old.ask("a")
    await link.set_mode(Mode("stall"))
    new = await dial(link)
    for caller in (old, new):
        caller.writer.write(b"b\n")
    new.writer.close()
    await until("both wait", lambda: link.counts["stalled"] == 2 and link.counts["connections"] == 2)
    assert echo.asked == ["a"]
    await link.set_mode(PASS)
    assert await old.answer() == "re: b"
    await until("what a client sent before it went away arrives too", lambda: echo.asked == ["a", "b", "b"])


async def test_a_black_hole_swallows_and_its_connections_stay_silent(link: Link, echo: Echo) -> None:
    old = await dial(link)
    await old.ask("a")
    await link.set_mode(Mode("black_hole"))
    new = await dial(link)
    for caller in (old, new):
        caller.writer.write(b"b\n")
    await until("both are swallowed", lambda: link.counts["swallowed"] == 2)
    await link.set_mode(PASS)
    for caller in (old, new):
        caller.writer.write(b"c\n")
    await until("they stay silent", lambda: link.counts["swallowed"] == 4)
    old.writer.close()
    assert await (await dial(link)).ask("d") == "re: d"
    assert echo.asked == ["a", "d"]
    assert echo.ended == 0  # the server is not told of the client's end


async def test_a_mute_link_brings_requests_and_no_replies(link: Link, echo: Echo) -> None:
    old = await dial(link)
    await link.set_mode(Mode("mute"))
    old.writer.write(b"a\n")
    await until("the reply is swallowed", lambda: link.counts["swallowed"] == 1)
    await link.set_mode(PASS)
    old.writer.write(b"b\n")
    await until("that one's too", lambda: link.counts["swallowed"] == 2)
    assert echo.asked == ["a", "b"]


async def test_replies_are_cut_in_their_midst(link: Link, echo: Echo) -> None:
    await link.set_mode(Mode("cut_mid_reply", reply_bytes=4))
    got = [await (await dial(link)).ask("abc") for _ in range(8)]
    assert all("re: abc".startswith(text) and text != "re: abc" for text in got)
    assert echo.asked == ["abc"] * 8
    assert link.counts["cut"] == 8


@pytest.mark.parametrize("after", [0, 3])
async def test_a_trap_loses_the_reply_of_the_request_that_it_names_and_no_other(link: Link, echo: Echo, after: int) -> None:
    trap = link.trap(b"needle", after)
    caller = await dial(link)
    assert await caller.ask("hay") == "re: hay"
    assert await caller.ask("a needle") == "re: a needle"[:after].strip()
    assert echo.asked == ["hay", "a needle"]
    assert trap.sprung == 1
    assert await (await dial(link)).ask("a needle") == "re: a needle"


async def test_a_trap_finds_a_text_that_comes_in_pieces(link: Link) -> None:
    trap = link.trap(b"needle")
    caller = await dial(link)
    caller.writer.write(b"a nee")
    await asyncio.wait_for(caller.writer.drain(), 5)
    await until("the first piece is through", lambda: any(known.outstanding for known in link._connections))
    assert await caller.ask("dle") == ""
    assert trap.sprung == 1


async def test_a_trap_catches_who_waits_already(link: Link) -> None:
    caller = await dial(link)
    caller.writer.write(b"block")  # no whole line: the server waits
    await until("it is through", lambda: any(known.outstanding for known in link._connections))
    trap = link.trap(b"block")
    assert await caller.ask("") == ""
    assert trap.sprung == 1


# ---------------------------------------------------------------- for programs that are not asynchronous


@pytest.fixture
def network() -> Iterator[Network]:
    with open_network() as found:
        yield found


def test_a_network_runs_links_in_a_thread(network: Network, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                peer, _ = server.accept()
                with peer:
                    peer.sendall(b"re: " + peer.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        host, _, port = network.add("a", server.getsockname()[1]).partition(":")
        trap = network.trap("a", b"lost")
        for text, answer in ((b"lost", b""), (b"found", b"re: found")):
            with socket.create_connection((host, int(port)), 10) as client:
                client.sendall(text)
                assert client.recv(100) == answer
        thread.join(10)
    network.set_mode("a", Mode("refuse"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 10)
    assert trap.sprung == 1
    assert network.counts("a")["trapped"] == 1
    assert network.names == ["a"]
