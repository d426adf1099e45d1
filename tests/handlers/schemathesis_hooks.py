"""Hooks of the generated requests (tests/security/schemathesis.toml)."""

from __future__ import annotations

import contextlib
from typing import Any

import schemathesis

LONGEST = 0.05


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """A long poll is one also when it is short: nobody has time to wait a minute for each."""
    with contextlib.suppress(KeyError, TypeError, ValueError):  # no number: it is refused
        if LONGEST < float(case.query["wait"]) <= 60:
            case.query["wait"] = LONGEST
