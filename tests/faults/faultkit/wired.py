"""A stand in which every service reaches each server by a link of its own."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterator

from faultkit.proxy import PASS, Mode, Network, Trap, open_network
from faultkit.stand import Service, Stand, open_stand

__all__ = ["SERVERS", "Wired", "link", "open_wired"]

SERVERS = ("redis", "postgres")


def link(service: str, server: str) -> str:
    """Name of the link from a service (such as worker-1) to a server."""
    return f"{service}>{server}"


class Wired:
    """A stand and its links; made by :func:`open_wired`."""

    def __init__(self, stand: Stand, network: Network) -> None:
        """No service is added yet."""
        self.stand = stand
        self.network = network

    def start(self, **settings: object) -> None:
        """A submitter, two workers and a scheduler, ready."""
        for kind in ("submitter", "worker", "worker", "scheduler"):
            self.add(kind, **settings).start()
        self.stand.wait_ready()

    def add(self, kind: str, **settings: object) -> Service:
        """As :meth:`Stand.add`, by links."""
        name = f"{kind}-{len(self.stand.of(kind)) + 1}"
        redis = self.network.add(link(name, "redis"), self.stand.valkey.port)
        postgres = self.network.add(link(name, "postgres"), self.stand.postgres.port)
        url = urllib.parse.urlsplit(self.stand.database_url)
        url = url._replace(netloc=f"{url.netloc.rpartition('@')[0]}@{postgres}")
        return self.stand.add(kind, REDISADDR=redis, DATABASEURL=url.geturl(), **settings)

    def set_mode(self, name: str, mode: Mode) -> None:
        """Make a link bad, or well again, and note it."""
        self.stand.log.note("fault", text=mode.kind, target=name)
        self.network.set_mode(name, mode)

    def heal(self) -> None:
        """Make all links well."""
        for name in self.network.names:
            self.set_mode(name, PASS)

    def trap(self, name: str, text: bytes, after: int = 0, times: int = 1) -> Trap:
        """Set a trap (:class:`Trap`), and note it."""
        self.stand.log.note("fault", text=f"trap {text[:40].decode(errors='replace')}", target=name)
        return self.network.trap(name, text, after, times)


@contextlib.contextmanager
def open_wired() -> Iterator[Wired]:
    """Servers without services; everything is ended on leaving."""
    with open_network() as network, open_stand() as stand:
        yield Wired(stand, network)
