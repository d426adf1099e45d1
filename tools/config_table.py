"""Write the README's table of settings anew from dtq.config: ``python tools/config_table.py``.

``--check`` writes nothing and ends with exit code 1 when the table is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dtq.config import Settings
from dtq.show_config import show

README = Path(__file__).resolve().parents[1] / "README.md"
TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=\n<!-- /settings -->)", re.DOTALL)
"""Between two comments, which Markdown does not show."""


def table() -> str:
    """The table: variable, default, meaning; one row a setting."""
    return show(Settings.model_construct(), "markdown")  # the defaults, whatever the environment says


def renewed(text: str) -> str:
    """The README's ``text`` with the present table.

    Raises:
        ValueError: it lacks the two comments.
    """
    found, count = TABLE.subn(lambda _: table(), text)
    if count != 1:
        raise ValueError("the README has no <!-- settings --> ... <!-- /settings -->")
    return found


def main() -> int:
    """Write the file, or compare with ``--check``; returns the exit code."""
    old = README.read_text("utf-8")
    new = renewed(old)
    if "--check" in sys.argv[1:]:
        return int(new != old)
    README.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
