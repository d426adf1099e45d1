"""Milliseconds since the epoch, as DTQ counts time, and the instants and days of PostgreSQL."""

from __future__ import annotations

import datetime

__all__ = ["DAY_MS", "day_of", "instant"]

DAY_MS = 86_400_000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
LAST_MS = 0xFFF_FFFF_FFFF
"""The last millisecond a job id can name, in the year 2527."""


def instant(ms: int) -> datetime.datetime:
    """The exact instant; times that no job id can have become the nearest that one can."""
    return EPOCH + datetime.timedelta(milliseconds=min(max(ms, 0), LAST_MS))


def day_of(day_number: int) -> datetime.date:
    """The UTC day that is ``day_number`` days after 1970-01-01."""
    return EPOCH.date() + datetime.timedelta(days=day_number)
