"""Where the peers are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from peers.processes import log
from peers.systems import SYSTEMS

HERE = Path(__file__).resolve().parent


def prepared(names: list[str]) -> tuple[Path, list[str]]:
    """Make the environments that are missing. Returns their folder, and the systems that can run."""
    root = Path(os.environ.get("PEERS_DIR") or HERE.parents[1] / ".data/peers").absolute()
    needed = {SYSTEMS[name].environment for name in names} - {""}
    if missing := sorted(name for name in needed if not (root / name / ".made").exists()):
        log(f"making {', '.join(missing)} in {root}")
        setup = {**os.environ, "PEERS_DIR": str(root), "PYTHON": os.environ.get("PYTHON") or sys.executable}
        subprocess.run(["sh", str(HERE / "setup.sh"), *missing], env=setup, check=False, stdout=sys.stderr)
    able = [name for name in names if usable(SYSTEMS[name].environment, root)]
    if left_out := [name for name in names if name not in able]:
        log(f"left out, having no environment: {', '.join(left_out)}")
    return root, able


def usable(environment: str, root: Path) -> bool:
    """Whether it was made, and what runs it is there."""
    return not environment or ((root / environment / ".made").exists() and (environment != "bullmq" or shutil.which("node") is not None))
