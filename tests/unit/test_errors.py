"""The error tree: complete, documented, and as its docstring draws it."""

from __future__ import annotations

import inspect
import pickle
import re
from datetime import timedelta
from typing import Any

import pytest

import dtq.errors
from dtq.errors import DtqError, HandlerSignal, QueueFull, Retry

CLASSES = {name: value for name, value in vars(dtq.errors).items() if inspect.isclass(value) and value.__module__ == "dtq.errors"}
TREE = re.findall(r"^( *)\* (.+?)(?: - .*)?$", dtq.errors.__doc__ or "", re.MULTILINE)


def test_all_is_every_public_error() -> None:
    assert set(dtq.errors.__all__) == set(CLASSES)
    assert len(dtq.errors.__all__) == len(set(dtq.errors.__all__))


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_has_one_root(name: str) -> None:
    assert issubclass(CLASSES[name], DtqError) != issubclass(CLASSES[name], HandlerSignal)


def test_docstring_draws_the_tree() -> None:
    parents: list[str] = []
    drawn = {}
    for indent, names in TREE:
        depth = len(indent) // 4
        for name in names.split(", "):
            drawn[name] = parents[depth - 1] if depth else "Exception"
            parents[depth:] = [name]
    assert drawn == {name: cls.__mro__[1].__name__ for name, cls in CLASSES.items()}


def test_full_queue_names_itself() -> None:
    error = QueueFull("mail", 7)
    assert (error.queue, error.retry_after) == ("mail", 7)
    assert "'mail'" in str(error)


def test_retry_keeps_its_delay_when_pickled() -> None:
    assert pickle.loads(pickle.dumps(Retry("x", after=2.0))).after == 2.0


@pytest.mark.parametrize(("after", "seconds"), [(0, 0.0), (2.5, 2.5), (timedelta(minutes=1), 60.0), (None, None)])
def test_retry_takes_seconds_or_a_timedelta(after: Any, seconds: float | None) -> None:
    assert Retry("x", after=after).after == seconds


@pytest.mark.parametrize("after", ["3", True, 1j])
def test_retry_refuses_what_is_no_time(after: Any) -> None:
    with pytest.raises(TypeError, match="seconds or a timedelta"):
        Retry("x", after=after)


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), 10**400, timedelta(days=-1), timedelta.max])
def test_retry_refuses_times_out_of_reach(after: Any) -> None:
    with pytest.raises(ValueError, match="0 to 315360000 seconds"):
        Retry("x", after=after)
