"""Values of a query's result as JSON holds them."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["json_rows", "json_value"]

MAX_INT = 2**63
"""Integers from here on are written as text: few readers of JSON keep them whole."""


def json_rows(rows: Iterable[tuple[Any, ...]], types: Sequence[str]) -> list[list[Any]]:
    """Rows as lists of JSON values. ``types`` are the columns' SQL types; a column of type JSON is not text in the result."""
    return [[_parsed(value) if kind == "JSON" else json_value(value) for value, kind in zip(row, types, strict=True)] for row in rows]


def _parsed(value: Any) -> Any:
    try:
        return None if value is None else msgspec.json.decode(value)
    except msgspec.DecodeError:
        return json_value(value)


def json_value(value: Any) -> Any:
    """One value: dates and times as ISO 8601, intervals in seconds, blobs as base64; NaN and infinities become null.

    A decimal is a number when a double holds all its digits, else text; so is a very large integer.
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if -MAX_INT <= value < MAX_INT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    return _nested(value)


def _nested(value: Any) -> Any:
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(json_value(name)): json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    return str(value)  # UUIDs and whatever else has a text form


def _decimal(value: Decimal) -> int | float | str:
    number = float(value)
    if Decimal(repr(number)) != value:
        return str(value)
    return number
