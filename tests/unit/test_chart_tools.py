"""tools/helm.py, which fetches helm for these tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools/helm.py"


def test_nothing_is_put_beside_an_interpreter_of_no_virtual_environment(tmp_path: Path) -> None:
    """A copy, as if it were the machine's own: `sys.prefix` is that of its installation."""
    outside = (
        f"import sys; sys.executable = {str(tmp_path / 'python')!r}; sys.prefix = sys.base_prefix; "
        f"sys.path.insert(0, {str(TOOL.parent)!r}); import helm; sys.exit(helm.main())"
    )
    done = subprocess.run([sys.executable, "-c", outside], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is of no virtual environment: nothing is put beside it" in done.stderr
    assert list(tmp_path.iterdir()) == []
