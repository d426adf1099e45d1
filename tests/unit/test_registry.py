"""Job types and handlers, found in modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from dtq.errors import ConfigError, Permanent
from dtq.registry import JobType, Registry, handler, handler_in, load_registry


class Payload(BaseModel):
    n: int


MakeModule = Callable[..., str]


@pytest.fixture
def module() -> Iterator[MakeModule]:
    """Makes modules that can be imported: ``module("name", THING=...)``."""
    made = []

    def make(name: str, **attributes: Any) -> str:
        found = ModuleType(name)
        vars(found).update(attributes)
        sys.modules[name] = found
        made.append(name)
        return name

    yield make
    for name in made:
        del sys.modules[name]


def count() -> JobType:
    return JobType("count", Payload)


def test_types_and_handlers_of_a_module(module: MakeModule) -> None:
    other = JobType("other", Payload)
    found = handler(count())(lambda payload, ctx: payload.n)
    registry = load_registry([module("mod_a", found=found, other=other, noise=3)], entry_points=False)
    assert set(registry.types) == {"count", "other"}
    assert set(registry.handlers) == {"count"}


def test_same_objects_in_two_modules_are_no_conflict(module: MakeModule) -> None:
    shared = count()
    found = handler(shared)(lambda payload, ctx: None)
    names = [module("mod_a", t=shared, h=found), module("mod_b", t=shared, h=found)]
    assert set(load_registry(names, entry_points=False).types) == {"count"}


def test_module_named_twice_is_read_once(module: MakeModule) -> None:
    name = module("mod_a", t=count())
    assert set(load_registry([name, name], entry_points=False).types) == {"count"}


def test_two_types_of_one_name(module: MakeModule) -> None:
    names = [module("mod_a", t=count()), module("mod_b", t=count())]
    with pytest.raises(ConfigError, match="mod_b"):
        load_registry(names, entry_points=False)


def test_two_handlers_of_one_type(module: MakeModule) -> None:
    shared = count()
    names = [module(name, h=handler(shared)(lambda payload, ctx: None)) for name in ("mod_a", "mod_b")]
    with pytest.raises(ConfigError, match="second handler"):
        load_registry(names, entry_points=False)


def test_module_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="no_such_module_here"):
        load_registry(["no_such_module_here"], entry_points=False)


def test_module_without_any_type(module: MakeModule) -> None:
    with pytest.raises(ConfigError, match="defines no JobType"):
        load_registry([module("mod_a")], entry_points=False)


def test_handler_knows_whether_it_is_a_coroutine() -> None:
    async def later(payload: Payload, ctx: object) -> None: ...

    def now(payload: Payload, ctx: object) -> None: ...

    assert handler(count())(later).is_async
    assert not handler(count())(now).is_async


def test_registries_are_independent() -> None:
    first, second = Registry(), Registry()
    first.add_type(count(), "here")
    assert second.types == {}


def test_a_handler_in_another_module_is_imported_as_it_runs(module: MakeModule) -> None:
    found = handler_in(count(), "mod_heavy:run")
    registry = load_registry([module("mod_a", found=found)], entry_points=False)
    assert registry.handler_modules == ["mod_heavy"]
    assert not registry.handlers["count"].is_async
    module("mod_heavy", run=lambda payload, ctx: (payload, ctx))
    assert found.func(1, "ctx") == (1, "ctx")


def test_a_handler_in_another_module_must_be_a_plain_function(module: MakeModule) -> None:
    async def run(payload: Payload, ctx: object) -> None:
        """Never awaited."""

    module("mod_heavy", run=run)
    with pytest.raises(Permanent, match="mod_heavy:run is a coroutine function"):
        handler_in(count(), "mod_heavy:run").func(Payload(n=1), None)


@pytest.mark.parametrize("place", ["", "run", "mod_heavy", "mod_heavy:", ":run", "mod_heavy:a b", "mod_heavy.run"])
def test_the_place_of_a_handler_names_module_and_function(place: str) -> None:
    with pytest.raises(ValueError, match=r"package\.module:function"):
        handler_in(count(), place)


@pytest.mark.parametrize("place", ["mod_missing:run", "mod_missing.inner:run", "json.missing:run", "sys.missing:run"])
def test_a_worker_is_told_of_a_handler_whose_module_is_missing(module: MakeModule, place: str) -> None:
    registry = load_registry([module("mod_a", found=handler_in(count(), place))], entry_points=False)  # a submitter may lack it
    with pytest.raises(ConfigError, match=f"handler of 'count' is in '{place.partition(':')[0]}'"):
        registry.check_handlers()


def test_a_worker_does_not_import_what_it_looks_for(module: MakeModule) -> None:
    sys.modules.pop("this", None)
    load_registry([module("mod_a", found=handler_in(count(), "this:run"))], entry_points=False).check_handlers()
    assert "this" not in sys.modules
