"""Two pools under load, and what was seen meanwhile: the same for every autoscaler. Tests then ask one thing each of what was seen."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clusterkit import Json, wait_for

from scalekit.logs import Logs
from scalekit.replicas import Replicas
from scalekit.rows import Row
from scalekit.site import Site

__all__ = ["BETA_PODS", "LASTING", "MOST", "Seen", "play", "pools"]

SLOTS = 3
"""Jobs that a pod runs at once."""
MOST = 3
"""Most pods of the pool alpha."""
LASTING = 30.0
"""Seconds that the jobs take which are in flight when pods are removed."""
HELD = 280.0
"""Seconds that jobs would take which are cancelled when they have served their purpose."""
BETA = {"beta-one": 4, "beta-two": 5}
"""Queues of the pool beta, and the jobs that each gets."""
BETA_PODS = 3
"""Pods that these need together. For the longer queue alone it would be 2, and 5 are allowed."""
QUICK_DOWN: Json = {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 1}]}}


def pools(**autoscaling: object) -> Json:
    """Values for both pools. They grow as by default, and shrink without the default's five minutes."""

    def pool(queues: list[str], most: int) -> Json:
        return {"queues": queues, "concurrency": SLOTS, "autoscaling": {"max": most, "behavior": QUICK_DOWN, **autoscaling}}

    return {"alpha": pool(["alpha"], MOST), "beta": pool(list(BETA), 5)}


@dataclass(frozen=True)
class Removed:
    """A pod of alpha that was removed while one of its jobs ran."""

    pod: str
    told: float
    """When it was told to stop, seconds since 1970."""
    log: list[Json]
    """What it said from shortly before on."""


@dataclass(frozen=True)
class Seen:
    """What happened. Durations are in seconds."""

    reaction: float
    """From before the first job was sent until one more pod of alpha was ready."""
    to_most: float
    """Likewise until all were ready."""
    scale_in: float
    """From when alpha's demand had fallen until its pods were told to stop, to the second."""
    to_floor: float
    """From the end of alpha's last job until it was back at its fewest pods; 0 if it was before."""
    alpha_most: int
    beta_most_before: int
    """Pods that beta was to have at most while only alpha had jobs."""
    beta_most: int
    lasting: dict[str, str]
    """The jobs in flight at the removal: id to pod."""
    removed: list[Removed]
    rows: dict[str, Row]
    """All jobs by id, after it was checked that each ended exactly once."""


@dataclass(frozen=True)
class Full:
    """Alpha with all its pods, each of which runs one job that lasts and others that are held until they are cancelled."""

    lasting: dict[str, str]
    held: list[str]
    cancelled: list[str]


def play(site: Site, floor: int) -> Seen:
    """Alpha is loaded until it has all its pods, and loses pods with jobs in flight; then beta is loaded by its two queues."""
    with Replicas.watched(site) as watch:
        for pool in ("alpha", "beta"):
            watch.until(pool, floor, floor)
        began = time.monotonic()  # before, a pool may have been given a pod while no submitter could tell its demand
        fed = _feed(site, lambda: watch.now("alpha").ready == MOST)
        full = _fill(site)
        beta_most_before = watch.most("beta", since=began)

        pods = set(full.lasting.values())
        with Logs.followed(site.kubectl, pods) as logs:
            site.cancel(*full.held)  # what is left needs one pod: the others are removed, though each has a job
            fell = time.time()
            told = wait_for(f"{MOST - 1} of {pods} are told to stop", lambda: _told(site, pods), kubectl=site.kubectl, every=0.2)
            beta = [site.nap(queue, HELD) for queue, count in BETA.items() for _ in range(count)]
            last = max(_finished(site.api.ended(job, seconds=120)) for job in full.lasting)
            at_floor = watch.until("alpha", floor, floor)
            to_floor = at_floor - time.monotonic() + time.time() - last
            removed = [Removed(pod, when, logs.of(pod)) for pod, when in told.items()]

        watch.until("beta", BETA_PODS, BETA_PODS)
        wait_for("all jobs of beta run", lambda: site.pods_of(beta), kubectl=site.kubectl)
        site.cancel(*beta)
        watch.until("beta", floor, floor)
        rows = site.check_ends({*fed, *full.lasting, *full.held, *full.cancelled, *beta}, "alpha", *BETA)
        return Seen(
            reaction=watch.first("alpha", floor + 1, began),
            to_most=watch.first("alpha", MOST, began),
            scale_in=max(told.values()) - fell,
            to_floor=max(0.0, to_floor),
            alpha_most=watch.most("alpha"),
            beta_most_before=beta_most_before,
            beta_most=watch.most("beta"),
            lasting=full.lasting,
            removed=removed,
            rows={row.id: row for row in rows},
        )


def _feed(site: Site, enough: Callable[[], bool]) -> list[str]:
    """Give alpha a little more to do than all its pods could, until it is enough; the jobs."""
    jobs: list[str] = []

    def fed() -> bool:
        if site.queue("alpha")["demand"] < 2 * MOST * SLOTS:
            jobs.extend(site.nap("alpha", 1) for _ in range(SLOTS))
        return enough()

    wait_for(f"alpha has {MOST} ready pods", fed, seconds=240, every=0.2, kubectl=site.kubectl)
    return jobs


def _fill(site: Site) -> Full:
    """Fill all slots, and let one job of each pod be replaced by one that lasts."""
    held = [site.nap("alpha", HELD) for _ in range(MOST * SLOTS)]

    def filled() -> dict[str, str] | None:  # for a moment a pod may have been handed one more, which it gives back
        where = site.pods_of(held)
        return where if where and sorted(Counter(where.values()).values()) == [SLOTS] * MOST else None

    where = wait_for("all slots of alpha are filled", filled, kubectl=site.kubectl)
    lasting = [site.nap("alpha", LASTING) for _ in range(MOST)]
    one_each = list({pod: job for job, pod in where.items()}.values())
    site.cancel(*one_each)
    at = wait_for("each pod runs a job that lasts", lambda: site.pods_of(lasting), kubectl=site.kubectl, every=0.2)
    assert len(set(at.values())) == MOST, at
    return Full(at, [job for job in held if job not in one_each], one_each)


def _told(site: Site, pods: set[str]) -> dict[str, float] | None:
    """All pods but one that are being deleted, and since when; None while there are fewer."""
    told: dict[str, float] = {}
    for pod in site.kubectl.items("pods", "--selector", "dtq.dev/pool=alpha"):
        meta = pod["metadata"]
        if meta["name"] in pods and "deletionTimestamp" in meta:  # which is the end of its grace period
            told[meta["name"]] = datetime.fromisoformat(meta["deletionTimestamp"]).timestamp() - meta["deletionGracePeriodSeconds"]
    return told if len(told) == MOST - 1 else None


def _finished(job: dict[str, Any]) -> float:
    return datetime.fromisoformat(job["finished_at"]).timestamp()
