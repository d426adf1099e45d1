"""Values of SQL as JSON holds them."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from dtq_worker.handlers.data_values import json_rows, json_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**53 + 1, 2**53 + 1),
        (2**63, str(2**63)),
        (-(2**127), str(-(2**127))),
        (Decimal("1.50"), 1.5),
        (Decimal("12345678901234567890.12"), "12345678901234567890.12"),
        (math.nan, None),
        (-math.inf, None),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC), "2024-02-29T01:02:03+00:00"),
        (time(1, 2), "01:02:00"),
        (timedelta(days=1, milliseconds=5), 86400.005),
        (b"\x00\xff", "AP8="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a": [Decimal(1), {date(2024, 1, 1): b""}]}, {"a": [1.0, {"2024-01-01": ""}]}),
        ((1, 2), [1, 2]),
    ],
)
def test_a_value_becomes_json(value: object, expected: object) -> None:
    assert json_value(value) == expected
    msgspec.json.encode(json_value(value))


def test_a_json_column_is_not_wrapped_in_text() -> None:
    assert json_rows([('{"a":1}', '{"a":1}'), (None, "x")], ["JSON", "VARCHAR"]) == [[{"a": 1}, '{"a":1}'], [None, "x"]]
