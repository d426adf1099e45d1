"""A release with the job type `nap` behind an Ingress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from clusterkit import Api, Cluster, Json, Kubectl, Release, wait_for
from clusterkit.front import reachable
from clusterkit.helm import merged
from clusterkit.installed import SMALL

from scalekit.rows import Row, read_rows

__all__ = ["Site", "deployed"]

MOUNT: Json = {
    "extraVolumes": [{"name": "jobs", "configMap": {"name": "jobs"}}],
    "extraVolumeMounts": [{"name": "jobs", "mountPath": "/app"}],
}
VALUES: Json = {
    "operator": {"enabled": False},
    "blobs": {"url": "s3://unused"},  # volumes are few on some clusters
    "submitter": MOUNT,
    "workerDefaults": {**MOUNT, "handlers": ["nap"], "processes": 1, "longestTimeoutSeconds": 300},
    "workers": {"default": None},
}


@dataclass(frozen=True)
class Site:
    """A release and a client of it that may do everything."""

    release: Release
    api: Api

    @property
    def kubectl(self) -> Kubectl:
        """kubectl in its namespace."""
        return self.release.kubectl

    def queue(self, name: str) -> dict[str, Any]:
        """A queue's numbers."""
        return self._get(f"/queues/{name}")

    def job(self, job: str) -> dict[str, Any]:
        """A job."""
        return self._get(f"/jobs/{job}")

    def _get(self, path: str) -> dict[str, Any]:
        """Ask as clients do: 503 says that they shall try again. It may still be answered by connections to a server that is no more."""

        def answer() -> httpx.Response | None:
            given = self.api.request("GET", path)
            return None if given.status_code == 503 else given

        given = wait_for(f"GET {path} is answered", answer, kubectl=self.kubectl)
        assert given.status_code == 200, f"GET {path}: {given.status_code} {given.text}"
        found: dict[str, Any] = given.json()
        return found

    def nap(self, queue: str, seconds: float) -> str:
        """Submit a job that takes so long; its id."""
        return self.api.submit("nap", {"seconds": seconds}, queue=queue)

    def cancel(self, *jobs: str) -> None:
        """Cancel jobs; those that run end within a second or so."""
        for job in jobs:
            answer = self.api.request("DELETE", f"/jobs/{job}")
            assert answer.status_code in (200, 202), f"DELETE /jobs/{job}: {answer.status_code} {answer.text}"

    def pods_of(self, jobs: list[str]) -> dict[str, str] | None:
        """Which pod runs each job; None while not all of them run."""
        found = {job: self.job(job) for job in jobs}
        if any(job["state"] != "running" for job in found.values()):
            return None
        return {name: pod_of(job["attempts"][-1]["worker"]) for name, job in found.items()}

    def rows(self, *queues: str) -> list[Row] | None:
        """What PostgreSQL has of these queues; None while it does not answer."""
        return read_rows(self.kubectl, f"{self.release.name}-postgresql-0", queues)

    def check_ends(self, accepted: set[str], *queues: str, seconds: float = 180) -> list[Row]:
        """Every accepted job of these queues, and nothing else, has exactly one row, and the API says of it what the row says."""

        def complete() -> list[Row]:
            rows = self.rows(*queues) or []
            return rows if len(rows) >= len(accepted) else []

        rows: list[Row] = wait_for(f"{len(accepted)} rows of {queues}", complete, seconds=seconds, every=1, kubectl=self.kubectl)
        ids = [row.id for row in rows]
        assert len(ids) == len(set(ids)), "a job has two rows"
        assert set(ids) == accepted, f"lost: {accepted - set(ids)}; never accepted: {set(ids) - accepted}"
        assert {row.replays for row in rows} == {0}
        with ThreadPoolExecutor(4) as pool:
            told = {job["id"]: (job["state"], len(job["attempts"])) for job in pool.map(self.job, ids)}
        assert told == {row.id: (row.state, len(row.attempts)) for row in rows}
        for queue in queues:
            numbers = self.queue(queue)
            assert (numbers["demand"], numbers["delayed"], numbers["dead"]) == (0, 0, 0), numbers
        return rows


def pod_of(worker: str) -> str:
    """The pod of a worker, which is named HOST-PROCESS-RANDOM."""
    return worker.rsplit("-", 2)[0]


@contextlib.contextmanager
def deployed(cluster: Cluster, kubectl: Kubectl, values: Json) -> Iterator[Site]:
    """Install a release with these values."""
    source = Path(__file__).with_name("nap.py").read_text("utf-8")
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "jobs"}, "data": {"nap.py": source}})
    host = f"{kubectl.namespace}.test"
    release = Release(cluster, kubectl)
    release.install(merged(merged(SMALL, VALUES), merged({"ingress": {"enabled": True, "host": host}}, values)))
    try:
        with Api(cluster.http, host, key=release.api_key("admin")) as api:
            reachable(api, kubectl)
            yield Site(release, api)
    finally:
        release.helm("uninstall", release.name, check=False)
        kubectl("delete", "pods", "--all", "--force", "--grace-period=0", check=False)  # after a failure jobs may still run, for minutes
