"""Threads of the fault tests: they end with their block, and one that breaks off is told."""

from __future__ import annotations

import threading

import pytest
from faultkit.beside import beside


def test_all_run_until_the_block_is_left() -> None:
    began, ended = threading.Barrier(3), []

    def run(stop: threading.Event) -> None:
        began.wait(30)
        stop.wait(30)
        ended.append(stop.is_set())

    with beside("broke off", [run, run]):
        began.wait(30)
        assert ended == []
    assert ended == [True, True]


def test_one_that_breaks_off_is_told_when_the_block_is_left() -> None:
    def fails(_: threading.Event) -> None:
        raise SystemExit

    with pytest.raises(AssertionError, match="broke off: SystemExit"), beside("broke off", [fails]):
        pass


def test_what_the_block_raises_goes_before() -> None:
    def fails(_: threading.Event) -> None:
        raise LookupError

    with pytest.raises(KeyError), beside("broke off", [fails]):
        raise KeyError
