"""Settings as people read them: for ``dtq config``, and for the README's table."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from dtq.config import Settings
from dtq.masking import masked

__all__ = ["FORMATS", "Row", "rows", "show"]

SECRET: Final = frozenset({"smtppassword"})


@dataclass(frozen=True, slots=True)
class Row:
    """One setting; ``value`` and ``default`` as one would write them in the environment, secrets masked."""

    variable: str
    value: str
    default: str
    meaning: str


def rows(settings: Settings) -> list[Row]:
    """Every setting, in the order of ``Settings``."""
    return [
        Row(
            variable=name.upper(),
            value=_masked(name, getattr(settings, name)),
            default=_written(field.default),
            meaning=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def show(settings: Settings, form: str) -> str:
    """All settings as text, in one of FORMATS; no newline at the end."""
    return _SHOW[form](rows(settings))


def _masked(name: str, value: object) -> str:
    text = _written(value)
    if name in SECRET:
        return "***" if text else ""
    return masked(text)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _as_text(table: list[Row]) -> str:
    width = max(40, min(shutil.get_terminal_size().columns, 120))
    indent = " " * 4
    lines = []
    for row in table:
        changed = "" if row.value == row.default else f"   (default: {row.default or 'empty'})"
        lines.append(f"{row.variable}={row.value}{changed}")
        lines.extend(textwrap.wrap(row.meaning, width, initial_indent=indent, subsequent_indent=indent))
    return "\n".join(lines)


def _as_markdown(table: list[Row]) -> str:
    """The defaults only: for documents."""
    body = (
        f"| `{row.variable}` | {f'`{row.default}`' if row.default else ''} | {row.meaning.replace('|', chr(92) + '|')} |" for row in table
    )
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *body])


def _as_json(table: list[Row]) -> str:
    return json.dumps([asdict(row) for row in table], indent=2)


_SHOW: Final[dict[str, Callable[[list[Row]], str]]] = {"text": _as_text, "markdown": _as_markdown, "json": _as_json}
FORMATS: Final = tuple(_SHOW)
"""text; markdown: a table of the defaults; json: a list of objects."""
