"""The scenarios of `make faults`, a module each, in the order in which they run."""

from __future__ import annotations

from faultkit.report import Scenario

from scenarios import (
    bounded,
    clock,
    crashpoints,
    disk_full,
    failover,
    freeze,
    kills,
    load,
    memory_full,
    network,
    postgres_away,
    recovery,
    storm,
    valkey_crash,
)

__all__ = ["ALL"]

ALL: list[Scenario] = [
    load.SCENARIO,
    kills.SCENARIO,
    valkey_crash.SCENARIO,
    freeze.SCENARIO,
    recovery.SCENARIO,
    memory_full.SCENARIO,
    network.SCENARIO,
    failover.SCENARIO,
    disk_full.SCENARIO,
    crashpoints.SCENARIO,
    postgres_away.SCENARIO,
    storm.SCENARIO,
    clock.SCENARIO,
    bounded.SCENARIO,
]
