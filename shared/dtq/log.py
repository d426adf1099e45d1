"""Logging: one JSON object a line, or a console line for people. A stable event name plus fields.

Loggers are made with ``structlog.get_logger()``; what is filtered by LOGLEVEL costs one method call. The standard
library's loggers (drivers, web server) come out in the same form.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dtq.config import Settings

__all__ = ["configure"]


def configure(settings: Settings, service: str = "dtq", stream: TextIO | None = None) -> None:
    """Set logging up, once, in a service's main. ``service`` becomes a field of every line; ``stream`` is stderr."""
    out = sys.stderr if stream is None else stream
    level = logging.getLevelName(settings.loglevel)
    shared: list[Processor] = [
        _adder(service),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = settings.logformat == "console"
    render: Processor = structlog.dev.ConsoleRenderer(colors=out.isatty()) if console else structlog.processors.JSONRenderer(_dump)
    errors: list[Processor] = [] if console else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *errors, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    _adopt_standard_loggers(out, level, shared, errors, render)


def _adopt_standard_loggers(out: TextIO, level: int, shared: list[Processor], errors: list[Processor], render: Processor) -> None:
    handler = logging.StreamHandler(out)
    handler.setLevel(level)  # a library may have set its own logger lower
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *errors, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # A driver's INFO is about its own workings.
    root.setLevel(max(level, logging.WARNING) if level > logging.DEBUG else level)


def _adder(service: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _dump(fields: object, **_options: object) -> str:
    return msgspec.json.encode(fields, enc_hook=str).decode()
