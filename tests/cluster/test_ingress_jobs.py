"""POST /submit through the Ingress: http and https, with a key and without one, and every job type to its end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from clusterkit import Api, wait_for
from clusterkit.front import Front

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAQAAAACAQMAAABFZu8gAAAABlBMVEXIHh4eHshgjNd+AAAADElEQVR42mMwYDgAAAFUAPHDP7aWAAAAAElFTkSuQmCC"
ROWS = [{"city": "Oslo", "amount": 3}, {"city": "Rome", "amount": 4}, {"city": "Oslo", "amount": 2}]
JOBS: dict[str, dict[str, Any]] = {
    "email": {"to": "user@example.com", "subject": "Through the cluster", "body": "Hello."},
    "image_resize": {"source": {"base64": PNG}, "height": 200, "output": "thumbnails/flag.png"},
    "data_processing": {"sql": "SELECT city, sum(amount) AS total FROM sales GROUP BY ALL ORDER BY 1", "inputs": {"sales": {"rows": ROWS}}},
}


@pytest.mark.parametrize("type_", JOBS)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_each_job_type_succeeds(front: Front, type_: str, secure: bool) -> None:
    with front.client(key=front.release.api_key("submit"), secure=secure) as api:
        job = api.ended(api.submit(type_, JOBS[type_]))
    assert job["state"] == "succeeded", job


def test_a_mail_arrives(front: Front) -> None:
    job = front.api.submit("email", {"to": "user@example.com", "subject": f"Of {front.host}", "body": "Hello."})
    front.api.ended(job)

    def arrived() -> bool:
        return f"Subject: Of {front.host}" in front.release.kubectl("logs", "mail").out

    wait_for("the mail is in the sink's log", arrived, kubectl=front.release.kubectl)


def test_a_file_that_a_worker_made_is_served(front: Front) -> None:
    job = front.api.submit("image_resize", JOBS["image_resize"])
    front.api.ended(job)
    answer = front.api.request("GET", f"/jobs/{job}/output")
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("key", [None, "dtq_wrong"], ids=["none", "wrong"])
def test_without_a_valid_key_nothing_is_accepted(front: Front, key: str | None, secure: bool) -> None:
    with front.client(key=key, secure=secure) as api:
        answer = api.request("POST", "/submit", json={"type": "email", "payload": JOBS["email"]})
    assert answer.status_code == 401


def test_the_read_key_may_not_submit(front: Front) -> None:
    with front.client(key=front.release.api_key("read")) as api:
        assert api.request("GET", "/queues").status_code == 200
        assert api.request("POST", "/submit", json={"type": "email", "payload": JOBS["email"]}).status_code == 403


def test_https_shows_the_certificate_of_the_secret(front: Front) -> None:
    with Api(front.release.cluster.https, front.host) as api, pytest.raises(httpx.ConnectError, match="self-signed"):
        api.request("GET", "/livez")
    with front.client(secure=True) as api:
        assert api.request("GET", "/livez").status_code == 200
