"""A state machine drives the real scripts and a small model; they must agree. Planted faults show that it would notice.

EXAMPLES=N runs N examples for each kind of server instead of the few of every day.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from queue_machine import QueueMachine
from queue_mutants import MUTANTS, NAMES, Mutant, planted
from queue_system import System

from dtq.queue import scripts
from dtq.queue.claims import Finish

LONG = int(os.environ.get("EXAMPLES", "0"))


def profile(examples: int, *, shrink: bool = True, random: bool = False) -> settings:
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    return settings(
        max_examples=examples,
        stateful_step_count=60 if LONG else 40,
        derandomize=not random,
        database=None,
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(params=["valkey", "cluster"])
def system(request: pytest.FixtureRequest, end: Callable[..., Finish]) -> Iterator[System]:
    """A server, or three."""
    if request.param == "valkey":
        urls = [request.getfixturevalue("redis_url")]
    else:
        urls = [node.url for node in request.getfixturevalue("cluster_nodes")]
    found = System(urls, end)
    assert found.cluster == (request.param == "cluster")
    yield found
    found.close()


def machine_on(target: System) -> type[QueueMachine]:
    class Machine(QueueMachine):
        system = target
        moves: ClassVar[Counter[str]] = Counter()  # its own, not all machines' together

    return Machine


@pytest.mark.timeout(0 if LONG else 300)
def test_queue_and_model_agree(system: System) -> None:
    machine = machine_on(system)
    examples = LONG or (20 if system.cluster else 50)
    try:
        run_state_machine_as_test(machine, settings=profile(examples, random=bool(LONG)))
    finally:
        print(f"{machine.examples} examples, {machine.steps} moves: {dict(machine.moves)}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if LONG or not mutant.rare], ids=lambda mutant: mutant.name)
@pytest.mark.parametrize("system", ["valkey"], indirect=True)
def test_planted_fault_is_found(system: System, mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "load", planted(mutant))
    machine = machine_on(system)
    with pytest.raises(AssertionError):  # a disagreement: that a script breaks down would say nothing about the machine
        run_state_machine_as_test(machine, settings=profile(1_000, shrink=False))
    print(f"found after {machine.examples} examples, {machine.steps} moves")


def test_planted_faults_are_scripts_that_run(redis_url: str) -> None:
    """One that the server refuses would be found by that, whatever the machine compares."""
    with redis.Redis.from_url(redis_url) as client:
        for mutant in MUTANTS:
            load = planted(mutant)
            for name in NAMES:
                client.script_load(load(name).text)
