"""Log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from dtq import log
from dtq.config import load_settings


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:], root.level = before


def lines(out: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_with_event_and_fields(out: io.StringIO) -> None:
    log.configure(load_settings(), "scheduler", out)
    structlog.get_logger().info("tick_fired", schedule="nightly", job="j1")
    [line] = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "tick_fired", "level": "info", "service": "scheduler", "schedule": "nightly", "job": "j1"}


def test_lines_below_the_level_are_not_written(out: io.StringIO) -> None:
    log.configure(load_settings(loglevel="WARNING"), "scheduler", out)
    structlog.get_logger().info("tick_fired")
    assert out.getvalue() == ""


def test_an_exception_is_in_the_line(out: io.StringIO) -> None:
    log.configure(load_settings(), "scheduler", out)
    try:
        raise ValueError("odd")
    except ValueError:
        structlog.get_logger().exception("tick_failed")
    assert "ValueError: odd" in lines(out)[0]["exception"]


def test_standard_loggers_come_out_alike(out: io.StringIO) -> None:
    log.configure(load_settings(), "scheduler", out)
    logging.getLogger("driver").warning("lost %s", "it")
    [line] = lines(out)
    assert (line["event"], line["logger"], line["level"], line["service"]) == ("lost it", "driver", "warning", "scheduler")


def test_console_lines_are_for_people(out: io.StringIO) -> None:
    log.configure(load_settings(logformat="console"), "scheduler", out)
    structlog.get_logger().info("tick_fired", schedule="nightly")
    assert "tick_fired" in out.getvalue()
    assert "schedule=nightly" in out.getvalue()
