"""Hides passwords in what is shown to people: settings, messages."""

from __future__ import annotations

import re

__all__ = ["masked"]

_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^?\s]*(?=@)")
_PASSWORD_OPTION = re.compile(r"(?i)((?:password|passfile|secret|token|sig)\w*=)[^&\s]+")


def masked(text: str) -> str:
    """``text`` with ``***`` in place of the passwords in its URLs."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***", text))
