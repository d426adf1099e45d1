"""What the fault tests call growth, and which keys they know; and how kills are drawn."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import pytest
from faultkit.killing import strokes
from faultkit.measure import CONNECTIONS, FILES, PAGE, PROCESS_MEMORY, SERVER_MEMORY, Sizes, documented, grown

BASE = Sizes(
    keys=Counter({"dtq:{Q}:n": 1, "dtq:{Q}:job:ID": 1}),
    lasting=Counter({"dtq:{Q}:n": 1, "dtq:{Q}:job:ID": 1}),
    members={"dtq:{default}:n": 0, "dtq:queues": 1},
    pending={"dtq:{default}:n": 0},
    consumers={"dtq:{default}:n": 2},
    server={"used_memory": 3_000_000, "connected_clients": 20, "postgres_connections": 10},
    files={"worker-1 (7)": 30},
    memory={"worker-1 (7)": 80_000_000},
)


def key(sizes: Sizes) -> None:
    sizes.keys["dtq:{Q}:job:ID"] += 1


def lasting_key(sizes: Sizes) -> None:
    sizes.lasting["dtq:{Q}:delayed"] += 1


def entry(sizes: Sizes) -> None:
    sizes.members["dtq:{default}:n"] += 1


def claim(sizes: Sizes) -> None:
    sizes.pending["dtq:{default}:n"] += 1


def consumer(sizes: Sizes) -> None:
    sizes.consumers["dtq:{default}:n"] += 1


def unknown(sizes: Sizes) -> None:
    sizes.odd.append("dtq:x is not documented")


def server_memory(sizes: Sizes) -> None:
    sizes.server["used_memory"] += SERVER_MEMORY + 1


def connections(sizes: Sizes) -> None:
    sizes.server["postgres_connections"] += CONNECTIONS + 1


def files(sizes: Sizes) -> None:
    sizes.files["worker-1 (7)"] += FILES + 1


def memory(sizes: Sizes) -> None:
    sizes.memory["worker-1 (7)"] += PROCESS_MEMORY + 1


@pytest.mark.parametrize("plant", [key, lasting_key, entry, claim, consumer, unknown, server_memory, connections, files, memory])
def test_growth_is_found(plant: Callable[[Sizes], None]) -> None:
    now = copy.deepcopy(BASE)
    assert grown(BASE, now) == []
    plant(now)
    assert len(grown(BASE, now)) == 1


def test_what_shrinks_and_what_comes_and_goes_is_no_growth() -> None:
    now = copy.deepcopy(BASE)
    now.keys["dtq:{Q}:job:ID"] = 0
    now.keys["dtq:{Q}:wake"] = now.keys["dtq:{Q}:box:WORKER"] = 1
    now.members["dtq:{default}:idle"] = 2
    now.memory["worker-2 (99)"] = 10**9  # started anew: nothing to compare it with
    assert grown(BASE, now) == []


@pytest.mark.parametrize(
    ("key", "name", "expires"),
    [
        ("dtq:queues", "dtq:queues", False),
        ("dtq:{default}:n", "dtq:{Q}:n", False),
        ("dtq:{a.b-c}:job:0193f0c2a1b00000n-a.b-c", "dtq:{Q}:job:ID", False),
        ("dtq:{default}:done:0193f0c2a", "dtq:{Q}:done:SLICE", True),
        ("dtq:{default}:failed:0193f0c2a", "dtq:{Q}:failed:SLICE", True),
        ("dtq:{default}:idem:some:key", "dtq:{Q}:idem:KEY", True),
        ("dtq:idem:some key", "dtq:idem:KEY", True),
        ("dtq:{default}:box:host-1-0a1b2c3d", "dtq:{Q}:box:WORKER", False),
        ("dtq:{default}:dead", "dtq:{Q}:dead", False),
        ("{dtq:schedules}:e:nightly", "{dtq:schedules}:e:NAME", False),
        ("dtq:{default}:progress:0193f0c2a1b00000n-default", "dtq:{Q}:progress:ID", True),
    ],
)
def test_keys_are_known_by_the_documentation(key: str, name: str, expires: bool) -> None:
    fits = [(known, must) for known, pattern, must in documented(PAGE.read_text()) if pattern.fullmatch(key)]
    assert fits == [(name, expires)]


@pytest.mark.parametrize("key", ["dtq:{default}:jobs", "dtq:other", "dtq:{default}:done:xyz", "celery"])
def test_keys_that_nobody_documented_are_not_known(key: str) -> None:
    assert not any(pattern.fullmatch(key) for _, pattern, _ in documented(PAGE.read_text()))


NAMES = ["valkey", "postgres", "worker-1", "worker-2", "submitter-1", "scheduler-1"]


@pytest.mark.parametrize("seed", range(20))
def test_kills_are_drawn_from_a_seed(seed: int) -> None:
    plan = strokes(seed, NAMES, 60)
    assert plan == strokes(seed, NAMES, 60)
    assert plan != strokes(seed + 1, NAMES, 60)
    assert sum(len(stroke.targets) for stroke in plan) + sum(stroke.again is not None for stroke in plan) >= 60
    assert {stroke.targets[0] for stroke in plan if len(stroke.targets) == 1} == set(NAMES)
    assert any(len(stroke.targets) == len(NAMES) for stroke in plan)
    assert all(len(set(stroke.targets)) == len(stroke.targets) for stroke in plan)
