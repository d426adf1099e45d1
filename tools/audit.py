"""Known vulnerabilities of the pinned versions (constraints.txt), by pip-audit. Exit codes: 0 none, 1 some, 3 nobody could be asked.

Whether the service knows anything is tried with a version that certainly has some: an index without such data answers as if
all were well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
CANARY = "urllib3==1.24.1"
ACCEPTED: dict[str, str] = {}
"""Ids of vulnerabilities that are no danger here, each with its reason."""


def ask(requirements: Path, service: str) -> dict[str, list[str]] | None:
    """Vulnerabilities by package of those that the service knows, None when it cannot be asked."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--vulnerability-service", service, "--timeout", "30", "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return None
    return {f"{item['name']} {item['version']}": [vuln["id"] for vuln in item["vulns"]] for item in found if "vulns" in item}


def main() -> int:
    """Ask the first service that knows the canary."""
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.txt"
        canary.write_text(f"{CANARY}\n")
        service = next((name for name in ("pypi", "osv") if any((ask(canary, name) or {}).values())), None)
    if service is None:
        print("audit: no service of known vulnerabilities can be reached from here; nothing was checked")
        return 3
    found = ask(CONSTRAINTS, service)
    pinned = sum("==" in line for line in CONSTRAINTS.read_text("utf-8").splitlines())
    if found is None or len(found) < pinned * 0.9:
        print(f"audit: the service {service} answered for {len(found or {})} of {pinned} packages only; this is no audit")
        return 3
    bad = {name: left for name, ids in found.items() if (left := [one for one in ids if one not in ACCEPTED])}
    for name, ids in bad.items():
        print(f"audit: {name} has {', '.join(ids)}")
    print(f"audit: {len(found)} of {pinned} packages checked with {service}, {len(bad)} have known vulnerabilities")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
