"""A state machine drives the real scripts and a small model; they must agree. Planted faults show that it would notice.

EXAMPLES=N runs N examples for each kind of server instead of the few of every day.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from queue_machine import QueueMachine
from queue_mutants import MUTANTS, Mutant, planted
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
def system(request: pytest.FixtureRequest, end: Callable[..., Finish], monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A server, or three. A machine that is busy with other tests is waited for: how long an answer may take is not asked here."""
    for patience in ("connection.CONNECT_TIMEOUT", "connection.ANSWER_TIMEOUT", "wire.ANSWER_TIMEOUT"):
        monkeypatch.setattr(f"dtq.queue.{patience}", 60.0)
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
    with pytest.raises(Exception):  # noqa: B017 - whatever it is by which the machine stops
        run_state_machine_as_test(machine, settings=profile(1_000, shrink=False))
    print(f"found after {machine.examples} examples, {machine.steps} moves")
