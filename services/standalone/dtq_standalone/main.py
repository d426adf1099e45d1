"""Composition root of ``dtq up``: servers, then services, then wait for a signal, then the same backwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any

from dtq.config import Settings, load_settings, parse_addr
from dtq.embedded import free_port
from dtq.embedded.process import explain
from dtq.errors import ConfigError, Unavailable
from dtq_standalone.child import Child, LogFile
from dtq_standalone.console import notable, say
from dtq_standalone.folder import DataFolder
from dtq_standalone.plan import Addresses, ChildSpec, curl_line, plan
from dtq_standalone.ports import HOST, Ports, check_free
from dtq_standalone.ready import wait_ready
from dtq_standalone.servers import Servers
from dtq_standalone.supervisor import Supervisor

__all__ = ["main"]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run until a signal. Exit code 0: stopped; 2: something is wrong that the line printed names; 1: a server is away."""
    started = time.monotonic()
    _on_signals(signal.default_int_handler)
    try:
        settings = load_settings()
        with ExitStack() as stack:
            run(settings, stack, started)
        say("stopped")
    except KeyboardInterrupt:
        say("stopped")
    except ConfigError as error:
        return _complain(str(error), 2)
    except Unavailable as error:
        return _complain(" ".join(str(error).split()), 1)  # drivers write several lines
    return 0


def run(settings: Settings, stack: ExitStack, started: float) -> None:
    """Start everything and stay until told to stop. ``stack`` undoes what was done."""
    folder = DataFolder(settings.datadir)
    folder.open()
    stack.callback(folder.close)
    settings = _with_port(settings)
    check_free("APIADDR", settings.apiaddr)
    ports = Ports(folder.path / "ports.json")
    servers = Servers(settings, folder, ports, stack, say)
    servers.start()
    _migrate(servers.database)
    addresses = _addresses(settings, folder, servers, ports)
    specs = plan(settings, addresses, os.environ, ports.take)
    try:
        ports.save()
        folder.write_env({"REDISADDR": addresses.redis, "DATABASEURL": addresses.database, "BLOBURL": addresses.blobs})
    except OSError as error:
        raise ConfigError(f"DATADIR={folder.path}: {explain(error)}") from error
    stack.callback(_on_signals, signal.SIG_IGN)  # servers stop quickly; nothing may break that off
    asyncio.run(_serve(specs, servers, folder, settings, lambda: _banner(settings, folder, addresses, started)))


def _with_port(settings: Settings) -> Settings:
    host, port = parse_addr(settings.apiaddr)
    return settings if port else settings.model_copy(update={"apiaddr": f"{host}:{free_port()}"})


def _migrate(database: str) -> None:
    from dtq.storage.migrate import migrate  # takes half a second to import: not before the quick checks

    migrate(database)


def _addresses(settings: Settings, folder: DataFolder, servers: Servers, ports: Ports) -> Addresses:
    given = settings.model_fields_set
    return Addresses(
        api=settings.apiaddr,
        redis=servers.redis,
        database=servers.database,
        blobs=settings.bloburl if "bloburl" in given else folder.blobs.as_uri(),
        mail=str(folder.mail),
        sink=None if "smtpaddr" in given else f"{HOST}:{ports.take('smtp-sink')}",
    )


async def _serve(specs: list[ChildSpec], servers: Servers, folder: DataFolder, settings: Settings, ready: Any) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    _listen(stop, hurry)
    raw = "logformat" in settings.model_fields_set and settings.logformat == "json"
    children = [Child(spec, LogFile(folder.logs / f"{spec.name}.log"), partial(_show, spec.name, raw)) for spec in specs]
    supervisor = Supervisor(children, servers.embedded, say)
    try:
        await supervisor.start()
        if await _unless(stop, supervisor.fatal, wait_ready(specs, say)):
            supervisor.steady = True
            say(ready())
            await _unless(stop, supervisor.fatal, asyncio.Event().wait())
    finally:
        say("stopping (Ctrl-C again to hurry)")
        await supervisor.stop(hurry)


def _listen(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """The first signal stops, the next hurries."""

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    for number in STOP_SIGNALS:
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):  # nohup
            asyncio.get_running_loop().add_signal_handler(number, on_signal)


async def _unless(stop: asyncio.Event, fatal: asyncio.Future[None], work: Coroutine[Any, Any, object]) -> bool:
    """Do the work; True when it is done, False when told to stop before. Raises what ``fatal`` or the work raises."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    first: set[asyncio.Future[Any]] = {working, stopped, fatal}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    told = stopped.done()
    stopped.cancel()
    if not working.done():
        working.cancel()
    if fatal.done():
        await fatal
    if not told:
        await working
    return not told


def _show(name: str, raw: bool, line: bytes) -> None:
    if text := notable(name, line, raw=raw):
        say(text)


def _banner(settings: Settings, folder: DataFolder, addresses: Addresses, started: float) -> str:
    where = folder.path
    with contextlib.suppress(ValueError):
        where = where.relative_to(os.getcwd())
    sink = f"{where}/mail/*.eml" if addresses.sink else f"sent to {settings.smtpaddr}"
    host, port = parse_addr(settings.apiaddr)
    return f"""
DTQ is ready at http://{host}:{port} after {time.monotonic() - started:.1f} s (documentation: /docs)

  {curl_line(addresses.api, with_key=bool(settings.apikeysfile))}

  mails    {sink}
  blobs    {f"{where}/blobs" if "bloburl" not in settings.model_fields_set else settings.bloburl}
  results  table dtq.jobs; for psql: . {where}/env; psql "$DATABASEURL"
  logs     {where}/logs/
  data     {where}/; kept until you delete it

Ctrl-C stops it."""


def _complain(text: str, code: int) -> int:
    for line in text.splitlines():
        print(f"dtq: {line}", file=sys.stderr)  # noqa: T201 - a program's output
    return code


def _on_signals(handler: Any) -> None:
    for number in STOP_SIGNALS:
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, handler)
