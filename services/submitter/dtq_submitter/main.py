"""Composition root of the submitter: ``python -m dtq_submitter``."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from types import FrameType

import structlog
import uvicorn
import uvloop

from dtq import log
from dtq.blobs import BlobStore
from dtq.config import Settings, load_settings, parse_addr
from dtq.errors import ConfigError, StoreUnavailable
from dtq.queue import Queue
from dtq.registry import Registry, load_registry
from dtq.schedule.store import ScheduleStore
from dtq.storage import Store
from dtq_submitter.app import Api, create_app
from dtq_submitter.openfiles import make_room
from dtq_submitter.origin import is_loopback
from dtq_submitter.protocol import Limits, bounded

__all__ = ["check_exposure", "main"]

BACKLOG = 2048
KEEP_ALIVE = 125
"""Seconds that an idle connection stays: longer than proxies keep theirs (Traefik 90, nginx and clouds' load balancers 60). One that sends
a request just when its connection is closed cannot know whether that was served, and answers 502."""


class Server(uvicorn.Server):
    """uvicorn's server that lets long polls go when it is told to stop: they would hold it up for a minute.

    uvicorn sends itself the signal once more when it has stopped, which would end the process before connections are
    closed, and with the signal's exit code: here a signal is a request to stop and no more.
    """

    def __init__(self, config: uvicorn.Config, api: Api) -> None:
        """Make it on the loop that it will run on."""
        super().__init__(config)
        self._api = api
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT came; a second SIGINT does not wait for requests."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._api.waits.release)


def check_exposure(settings: Settings) -> None:
    """Refuse to serve strangers by accident.

    Raises:
        ConfigError: APIADDR is not this machine's own, and no keys are needed.
    """
    if settings.apikeysfile or settings.allowanonymous:
        return
    if not is_loopback(parse_addr(settings.apiaddr)[0]):
        raise ConfigError(
            f"APIADDR={settings.apiaddr!r} can be reached from other machines: set APIKEYSFILE (see `dtq apikey`), or ALLOWANONYMOUS=true"
        )


def listen(addr: str) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address is in use, or not this machine's.
    """
    host, port = parse_addr(addr)
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigError(f"APIADDR={addr!r}: {error.strerror or error}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(f"APIADDR={addr!r}: {error.strerror or error}") from None
    return sock


async def serve(settings: Settings, registry: Registry) -> None:
    """Run until SIGTERM or SIGINT."""
    blobs = BlobStore.from_url(settings.bloburl)
    sock = listen(settings.apiaddr)
    queue = await Queue.connect(settings)
    store = Store(settings.databaseurl)
    await store.open()
    try:
        api = create_app(settings, queue, store, ScheduleStore(queue.client), registry, blobs)
        limits = Limits(settings.requestseconds, make_room(settings.maxconnections), api.front.refused)
        config = uvicorn.Config(
            api,
            http=bounded(limits),
            loop="none",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, int(settings.shutdownseconds)),
        )
        structlog.get_logger("dtq.submitter").info(
            "submitter_started", address=settings.apiaddr, types=sorted(registry.types), keys=bool(settings.apikeysfile)
        )
        await Server(config, api).serve(sockets=[sock])
    finally:
        sock.close()
        await _close(store, queue)


async def _close(store: Store, queue: Queue) -> None:
    try:
        await store.close()
    except StoreUnavailable:
        pass  # it is away, so there is nothing to close
    finally:
        await queue.close()


def main() -> int:
    """Entry point; returns the exit code: 2 when a setting is wrong."""
    try:
        settings = load_settings()
        log.configure(settings, "submitter")
        check_exposure(settings)
        registry = load_registry(["dtq.jobs", *settings.handler_modules])
        uvloop.run(serve(settings, registry))
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"dtq-submitter: {line}", file=sys.stderr)  # noqa: T201 - a start that failed is told in plain words
        return 2
    return 0
