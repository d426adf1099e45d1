"""The README and the documents beside it say what the code does: examples are valid, tables and drawings are complete."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dtq.jobs import BUILTIN
from dtq.registry import Registry, load_registry
from dtq.requests import Requests
from dtq.schedule.spec import parse_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PATHS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in PATHS}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [body for found, body in FENCE.findall(text) if found == language]


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in the text's shell blocks; a command may span lines within quotes."""
    for block in blocks(text, "sh"):
        pending = ""
        for line in block.splitlines():
            pending += line + "\n"
            try:
                words = shlex.split(pending, comments=True)
            except ValueError:  # a quotation is open
                continue
            pending = ""
            if words:
                yield words
        assert not pending, f"a quotation is not closed: {pending}"


def curls(*paths: str) -> list[tuple[str, bytes, str | None]]:
    """(URL, body, Idempotency-Key) of every documented request with a JSON body to one of the ``paths``."""
    listed = []
    for words in (words for page in PAGES.values() for words in commands(page) if words[0] == "curl" and "-G" not in words):
        if "-d" not in words:
            continue
        host = re.compile(r"(https?://)?[\w.$:{}-]+(?=/)")  # localhost:8080, or a cluster's
        url = next("localhost:8080" + word[found.end() :] for word in words[1:] if (found := host.match(word)) and "/json" not in word)
        headers = [words[index + 1] for index, word in enumerate(words) if word == "-H"]
        key = next((header.partition(": ")[2] for header in headers if header.startswith("Idempotency-Key: ")), None)
        if any(url.startswith(f"localhost:8080{path}") for path in paths):
            listed.append((url, words[words.index("-d") + 1].encode(), key))
    return listed


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The built-in types and the README's own."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return load_registry(["dtq.jobs", "greet"], entry_points=False)


def test_every_submission_shown_is_valid(registry: Registry) -> None:
    requests = Requests(registry.types)
    shown = [(url, body, key) for url, body, key in curls("/submit") if not url.endswith("/batch")]
    jobs = [requests.parse(body, key) for _, body, key in shown]
    assert {job.type for job in jobs} == {*(known.name for known in BUILTIN), "greet"}
    assert any(job.delay_ms for job in jobs)
    assert any(job.run_at_ms for job in jobs)
    assert any(job.idempotency_key for job in jobs)


def test_every_batch_shown_is_valid(registry: Registry) -> None:
    batches = [Requests(registry.types).parse_batch(body) for _, body, _ in curls("/submit/batch")]
    assert batches
    assert all(len(batch) > 1 for batch in batches)


def test_every_schedule_shown_is_valid(registry: Registry) -> None:
    specs = [parse_spec(body) for _, body, _ in curls("/schedules/")]
    assert specs
    for spec in specs:
        registry.types[spec.jobTemplate.type].payload.model_validate(spec.jobTemplate.payload)


def test_the_first_example_is_the_classic_one() -> None:
    _, body, _ = curls("/submit")[0]
    assert body == b'{"type":"email","payload":{"to":"user@example.com","subject":"Test Email","body":"This is a test email."}}'


def test_the_table_of_settings_is_up_to_date() -> None:
    renewed = runpy.run_path(str(ROOT / "tools" / "config_table.py"))["renewed"]
    assert renewed(README) == README, "run: python tools/config_table.py"


def test_the_job_type_shown_is_the_file_in_examples() -> None:
    assert (ROOT / "examples" / "greet.py").read_text("utf-8") in blocks(README, "python")


@pytest.mark.parametrize("name", PAGES)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[name]):
        assert (folder / target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", PAGES)
def test_links_within_a_document_lead_to_a_heading(name: str) -> None:
    titles = re.findall(r"^#+ (.+)$", PAGES[name], re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(#([^)]+)\)", PAGES[name]):
        assert target in headings, f"{name} links to #{target}"


def test_the_http_client_shown_works(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = Requests(registry.types)

    def answer(_transport: object, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/submit":
            assert requests.parse(request.read()).priority == "high"
            return httpx.Response(202, json={"id": "0193f0c2a1b00000h-default", "state": "queued"})
        if request.url.path == "/submit/batch":
            jobs = requests.parse_batch(request.read())
            return httpx.Response(202, json={"jobs": [{"id": str(job.payload), "state": "scheduled"} for job in jobs]})
        return httpx.Response(200, json={"id": "0193f0c2a1b00000h-default", "type": "greet", "queue": "default", "state": "succeeded"})

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    [code] = [code for code in blocks(README, "python") if "import Client" in code]
    exec(compile(code, "README.md", "exec"), {})
