"""The five fields of a cron line, as Kubernetes reads them (robfig/cron v3, ``ParseStandard``).

A validating pass of ours rewrites each field in the small language in which croniter and robfig/cron agree (``a``,
``a-b``, ``a-b/s`` and lists of them, in plain numbers); croniter expands that to the values. Left as written, croniter
would take what CronJob refuses (``7`` for Sunday, ``L``, ``#``, ``W``, ``R``, ``H``, ranges that wrap, six or seven
fields) and read ``5-5/2`` as the whole cycle.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from croniter import croniter

__all__ = ["BOUNDS", "Bounds", "Field", "expand", "split_line"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one field may hold: its title, least and greatest value, and names for values."""

    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed values, for messages."""
        names = f" or {self.names[0].upper()}-{self.names[-1].upper()}" if self.names else ""
        return f"{self.low}-{self.high}{names}"


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

BOUNDS = (
    Bounds("minute", 0, 59),
    Bounds("hour", 0, 23),
    Bounds("day of month", 1, 31),
    Bounds("month", 1, 12, _MONTHS),
    Bounds("day of week", 0, 6, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Field:
    """The values of a field, ascending, and whether a bare ``*`` or ``?`` is among its parts (``*/2`` is not bare)."""

    values: tuple[int, ...]
    star: bool


_BLANKS = re.compile("[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
"""What Go's unicode.IsSpace takes for white space; str.split() takes more."""

_NUMBER = re.compile(r"\+?[0-9]+", re.ASCII)
_MAX_INT = 2**63 - 1


def split_line(text: str) -> list[str]:
    """The fields of a line.

    Raises:
        ValueError: there are not five.
    """
    fields = [field for field in _BLANKS.split(text) if field]
    if len(fields) != len(BOUNDS):
        raise ValueError(
            f"expected 5 fields (minute, hour, day of month, month, day of week) or a macro such as @daily, found {len(fields)}"
        )
    return fields


@lru_cache(maxsize=4096)
def expand(fields: tuple[str, ...]) -> tuple[Field, ...]:
    """The values of the five fields.

    Raises:
        ValueError: a field is not allowed; the message names it.
    """
    parsed = [_parse_field(text, bounds) for text, bounds in zip(fields, BOUNDS, strict=True)]
    # A field of nothing but commas has no parts: robfig/cron takes it, and it never matches. croniter has no word for it.
    plain = " ".join(",".join(parts) or str(bounds.low) for (parts, _), bounds in zip(parsed, BOUNDS, strict=True))
    lists = croniter.expand(plain)[0]
    return tuple(
        Field(_values(values, bounds) if parts else (), star) for (parts, star), values, bounds in zip(parsed, lists, BOUNDS, strict=True)
    )


def _values(expanded: Sequence[int | str], bounds: Bounds) -> tuple[int, ...]:
    if list(expanded) == ["*"]:
        return tuple(range(bounds.low, bounds.high + 1))
    return tuple(sorted(int(value) for value in expanded))


def _parse_field(text: str, bounds: Bounds) -> tuple[list[str], bool]:
    parts: list[str] = []
    star = False
    for part in filter(None, text.split(",")):
        low, high, step, bare = _parse_part(part, bounds)
        star = star or bare
        # One value is never written as a range: croniter reads an equal range as the whole cycle.
        parts.append(str(low) if high - low < step else f"{low}-{high}/{step}")
    return parts, star


def _parse_part(part: str, bounds: Bounds) -> tuple[int, int, int, bool]:
    """``part`` as (low, high, step, bare star), in the order of checks of robfig/cron's getRange."""
    range_text, *steps = part.split("/")
    first, *rest = range_text.split("-")
    bare = first in ("*", "?")
    if bare:
        low, high = bounds.low, bounds.high  # whatever follows the star, as in robfig/cron
    else:
        low = high = _value(first, part, bounds)
        if len(rest) > 1:
            raise _refusal(part, bounds, "has too many hyphens")
        if rest:
            high = _value(rest[0], part, bounds)
    step = 1
    if len(steps) > 1:
        raise _refusal(part, bounds, "has too many slashes")
    if steps:
        step = _number(steps[0], part, bounds)
        if not rest:
            high = bounds.high  # N/step means N-max/step
        bare = bare and step <= 1
    _check(low, high, step, part, bounds)
    return low, high, step, bare


def _check(low: int, high: int, step: int, part: str, bounds: Bounds) -> None:
    if low < bounds.low or high > bounds.high:
        hint = "; write 0 for Sunday" if bounds.high == 6 and 7 in (low, high) else ""
        raise _refusal(part, bounds, f"is outside {bounds.allowed}{hint}")
    if low > high:
        raise _refusal(part, bounds, "is a range that ends before it begins; write it as two ranges")
    if step == 0:
        raise _refusal(part, bounds, "has step 0; a step is 1 or more")


def _value(text: str, part: str, bounds: Bounds) -> int:
    name = text.lower()
    if name in bounds.names:
        return bounds.names.index(name) + bounds.low
    return _number(text, part, bounds)


def _number(text: str, part: str, bounds: Bounds) -> int:
    if not _NUMBER.fullmatch(text) or len(text) > 40 or int(text) > _MAX_INT:
        raise _refusal(part, bounds, f"is not understood; allowed are {bounds.allowed}, *, ranges a-b and steps /n")
    return int(text)


def _refusal(part: str, bounds: Bounds, why: str) -> ValueError:
    return ValueError(f"{bounds.title} {part[:40]!r} {why}")
