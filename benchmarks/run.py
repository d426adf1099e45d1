"""All benchmarks of one machine in one run: `make bench`. Prints each one's lines and writes benchmarks/results/*.json.

Figures are ratios to a raw loop or a bare endpoint measured in the same run: absolute numbers of different runs or machines
must not be compared.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

RUNS = (
    ("worker-1-process", ["worker_throughput.py", "--jobs", "60000", "--slots", "10,100,500"]),
    ("worker-2-processes", ["worker_throughput.py", "--jobs", "60000", "--slots", "100", "--processes", "2"]),
    ("worker-everysec", ["worker_throughput.py", "--jobs", "60000", "--slots", "100", "--fsync", "everysec"]),
    ("worker-1ms-jobs", ["worker_throughput.py", "--jobs", "20000", "--slots", "10,100", "--kind", "nap", "--ms", "1"]),
    ("bulk-submit", ["bulk_submit.py"]),
    ("submit-http", ["submit_http.py"]),
    ("latency", ["latency.py"]),
    ("image-resize", ["image_resize.py"]),
    ("memory", ["memory.py"]),
    ("scale-workers", ["scale_workers.py"]),
    ("scale-queues", ["scale_queues.py"]),
    ("scale-schedules", ["scale_schedules.py", "--schedules", "1000,10000"]),
    ("scale-shards", ["scale_shards.py"]),
    ("insert-rows", ["insert_rows.py"]),
)


def main() -> int:
    RESULTS.mkdir(exist_ok=True)
    wanted, known = sys.argv[1:], [name for name, _command in RUNS]
    if unknown := sorted(set(wanted) - set(known)):
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name, command in RUNS:
        if wanted and name not in wanted:
            continue
        print(f"\n== {name}: {' '.join(command)}", flush=True)
        lines: list[str] = []
        process = subprocess.Popen([sys.executable, str(HERE / command[0]), *command[1:]], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
        if process.wait():
            failed.append(name)
        record = {
            "benchmark": name, "command": command, "lines": lines, "when": time.strftime("%Y-%m-%d %H:%M"), "cores": os.cpu_count(),
            "python": platform.python_version(), "system": platform.platform(), "load": os.getloadavg(),
        }  # fmt: skip
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1))
    print(f"\nwritten to {RESULTS}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
