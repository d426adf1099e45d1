"""`helm test`: submits a job over the Service and waits for its end. Environment: URL, QUEUE and, where keys are needed, KEY."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

SECONDS = 180  # a pool scaled to 0 has to start first
KEY_SECONDS = 90  # until every submitter's kubelet has renewed the file of keys, after one was changed
PAUSE = 3.0
START = time.monotonic()
JOB = {
    "type": "data_processing",
    "queue": os.environ["QUEUE"],
    "payload": {"sql": "SELECT sum(n) AS total FROM numbers", "inputs": {"numbers": {"rows": [{"n": 19}, {"n": 23}]}}},
}
ENDS = {"succeeded", "failed", "cancelled"}


def call(path: str, body: object = None) -> dict[str, object]:
    """One request; the service answers JSON, also when it refuses."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("KEY"):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["URL"] + path, data, headers)  # noqa: S310 - the chart's own URL
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            told = f"{request.get_method()} {path}: {error.code} {error.read().decode(errors='replace')}"
            if error.code != 401 or time.monotonic() - START > KEY_SECONDS:
                sys.exit(told)
        except OSError as error:
            sys.exit(f"{request.full_url}: {error}; is the submitter running?")
        print(f"{told}; a changed key takes up to {KEY_SECONDS} s", flush=True)  # noqa: T201 - what `helm test --logs` shows
        time.sleep(PAUSE)


def main() -> None:
    """Submit, wait, compare."""
    deadline = time.monotonic() + SECONDS
    job = call("/submit", JOB)
    print(f"submitted {job['id']} to queue {job['queue']}", flush=True)  # noqa: T201 - what `helm test --logs` shows
    while job["state"] not in ENDS:
        if time.monotonic() > deadline:
            sys.exit(f"after {SECONDS} s it is still {job['state']}; does a worker serve queue {job['queue']}? " + json.dumps(job))
        job = call(f"/jobs/{job['id']}?wait=20")
    if job["state"] != "succeeded" or "42" not in json.dumps(job.get("result")):
        sys.exit("it did not end as it should: " + json.dumps(job))
    print(f"succeeded: {json.dumps(job['result'])}", flush=True)  # noqa: T201 - likewise


main()
