"""Which child processes run, with which environment, and in which order they stop. Nothing here does anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dtq.config import Settings, parse_addr

__all__ = ["Addresses", "ChildSpec", "curl_line", "plan", "restart_delay"]

QUICK_STOP_SECONDS = 10.0
HAND_BACK_SECONDS = 10.0
"""What a worker gets, beyond SHUTDOWNSECONDS, to hand unfinished jobs back."""

STEADY_SECONDS = 60.0
"""A child that ran for so long before it died is restarted as if it were the first time."""

EXAMPLE = '{"type":"email","payload":{"to":"user@example.com","subject":"Test Email","body":"This is a test email."}}'


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is. ``sink``: host:port our SMTP sink listens at, None when SMTPADDR names a server."""

    api: str
    redis: str
    database: str
    blobs: str
    mail: str
    sink: str | None


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child: ``python -m *command``, with ``environment`` and nothing else, given ``grace_s`` to stop by itself.

    ``probe`` is the URL that answers 200 when the child is ready; None: running is enough.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    grace_s: float
    probe: str | None


def plan(settings: Settings, addresses: Addresses, environ: Mapping[str, str], free_port: Callable[[str], int]) -> list[ChildSpec]:
    """All children, in the order they stop in: first who takes jobs in, last who is needed by the others.

    ``free_port`` returns a port for the child of that name.
    """
    common = _environment(settings, addresses, environ)
    specs = [ChildSpec("submitter", ("dtq_submitter",), common, QUICK_STOP_SECONDS, f"http://{_reachable(addresses.api)}/readyz")]
    for index, name in enumerate(["scheduler", *(f"worker-{number}" for number in range(1, settings.workers + 1))]):
        metrics = _metrics_addr(settings, index, lambda name=name: free_port(name))  # type: ignore[misc]
        grace_s = QUICK_STOP_SECONDS if name == "scheduler" else settings.shutdownseconds + HAND_BACK_SECONDS
        module = "dtq_scheduler" if name == "scheduler" else "dtq_worker"
        specs.append(ChildSpec(name, (module,), {**common, "METRICSADDR": metrics}, grace_s, f"http://{_reachable(metrics)}/readyz"))
    if addresses.sink is not None:
        sink = ("dtq_standalone.smtp_sink", addresses.mail, addresses.sink)
        specs.append(ChildSpec("smtp-sink", sink, common, QUICK_STOP_SECONDS, None))
    return specs


def restart_delay(ran_s: float, deaths: int) -> float:
    """Seconds to wait before a child that ran for ``ran_s`` seconds is started again, after ``deaths`` early deaths in a row."""
    return 0.5 if ran_s >= STEADY_SECONDS else min(0.5 * 2 ** min(deaths, 10), 30.0)


def curl_line(api: str, *, with_key: bool) -> str:
    """A line for the shell that submits the example job."""
    key = " -H 'Authorization: Bearer YOUR-KEY'" if with_key else ""
    return f"curl -X POST http://{_reachable(api)}/submit -H 'Content-Type: application/json'{key} -d '{EXAMPLE}'"


def _environment(settings: Settings, addresses: Addresses, environ: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the addresses. Logs go to files, so they are JSON whatever the console shows."""
    ours = {
        "APIADDR": addresses.api,
        "REDISADDR": addresses.redis,
        "DATABASEURL": addresses.database,
        "BLOBURL": addresses.blobs,
        "SMTPADDR": addresses.sink or settings.smtpaddr,
        "LOGFORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }
    # Settings are read in any case: a `redisaddr` beside our REDISADDR would be ambiguous.
    return {name: value for name, value in environ.items() if name.upper() not in ours} | ours


def _metrics_addr(settings: Settings, index: int, free_port: Callable[[], int]) -> str:
    """Each process needs its own: METRICSADDR and the ports after it, or free ones when its port is 0."""
    host, _, base = settings.metricsaddr.rpartition(":")
    return f"{host}:{int(base) + index if int(base) else free_port()}"


def _reachable(addr: str) -> str:
    """Where a client on this machine finds a server that listens at ``addr``."""
    host, port = parse_addr(addr)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
