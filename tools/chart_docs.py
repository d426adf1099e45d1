"""Write the chart's README table and values.schema.json anew from values.yaml: ``python tools/chart_docs.py``.

``--check`` writes nothing and ends with exit code 1 when one is out of date. A value's description is the comment ``# -- ...`` above it;
its type is that of its default, narrowed by ``chart_schema.py``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from chart_schema import schema

CHART = Path(__file__).resolve().parents[1] / "charts/dtq"
VALUES, README, SCHEMA = CHART / "values.yaml", CHART / "README.md", CHART / "values.schema.json"
TABLES = re.compile(r"(?<=<!-- values -->\n).*?(?=\n<!-- /values -->)", re.DOTALL)
"""Between two comments, which Markdown does not show."""
_KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")


@dataclass(frozen=True, slots=True)
class Value:
    """A described value: its ``path`` from the top, its ``default`` and what it means."""

    path: tuple[str, ...]
    default: Any
    text: str


def described(text: str) -> Iterator[Value]:
    """The values of values.yaml that have a description, in their order."""
    defaults = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("# ") and comment:
            comment.append(stripped.removeprefix("# "))
        elif key := _KEY.match(line):
            indent = len(key[1])
            path = [step for step in path if step[0] < indent] + [(indent, key[2])]
            names = tuple(name for _, name in path)
            if comment:
                yield Value(names, _at(defaults, names), " ".join(comment))
            comment = []
        else:
            comment = []


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def tables(values: list[Value]) -> str:
    """One table for each first name, in Markdown; values without one below it come first."""
    sections: dict[str, list[Value]] = {}
    for value in values:
        sections.setdefault(value.path[0] if len(value.path) > 1 else "", []).append(value)
    parts = []
    for name, rows in sections.items():
        lines = [f"### {name}\n" if name else "### General\n", "| Value | Default | Meaning |", "|---|---|---|"]
        lines += [f"| `{'.'.join(row.path)}` | `{json.dumps(row.default)}` | {row.text.replace('|', '&#124;')} |" for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def renewed() -> dict[Path, str]:
    """What the generated files should hold.

    Raises:
        ValueError: README.md lacks the two comments.
    """
    text = VALUES.read_text("utf-8")
    values = list(described(text))
    readme, count = TABLES.subn(lambda _: tables(values), README.read_text("utf-8"))
    if count != 1:
        raise ValueError(f"{README.name} has no <!-- values --> ... <!-- /values -->")
    texts = {value.path: value.text for value in values}
    return {README: readme, SCHEMA: json.dumps(schema(yaml.safe_load(text), texts), indent=2, ensure_ascii=False) + "\n"}


def main() -> int:
    """Write the files, or compare with ``--check``; returns the exit code."""
    old = [path for path, text in renewed().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in old:
            print(f"{path.name} is out of date: run python tools/chart_docs.py", file=sys.stderr)  # noqa: T201 - for the person
        return int(bool(old))
    for path in old:
        path.write_text(renewed()[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
