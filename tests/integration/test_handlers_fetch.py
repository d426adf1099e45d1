"""Fetching a URL from a payload, against real HTTP servers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dtq.errors import Permanent, Retry
from dtq_worker.fetch import fetch_bytes, fetch_to_file
from dtq_worker.netrules import FetchRules

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A server that answers every GET by ``answer``; yields its host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the client hangs up on purpose
                answer(self)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def rules(allow: str = "127.0.0.1", max_bytes: int = 1000, timeout: float = 60) -> FetchRules:
    return FetchRules.parse(allow, max_bytes, timeout)


def test_a_file_is_fetched(tmp_path: Path) -> None:
    with serving(reply(200, b"content")) as addr:
        assert fetch_bytes(f"http://{addr}/x?y=1", rules()) == b"content"
        assert fetch_to_file(f"http://{addr}/x", tmp_path / "x", rules()) == 7
        assert (tmp_path / "x").read_bytes() == b"content"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_loopback_address_is_refused_however_it_is_written(host: str) -> None:
    with serving(reply(200, b"secret")) as addr, pytest.raises(Permanent, match="FETCHALLOW"):
        fetch_bytes(f"http://{host}:{addr.rpartition(':')[2]}/", rules(allow=""))


def test_the_metadata_service_of_clouds_is_refused() -> None:
    with pytest.raises(Permanent, match="link-local"):
        fetch_bytes("http://169.254.169.254/latest/meta-data/", rules())


def test_a_redirect_to_a_forbidden_address_is_refused() -> None:
    with serving(reply(200, b"secret")) as inner:
        target = f"http://127.0.0.2:{inner.rpartition(':')[2]}/"
        with serving(reply(302, Location=target)) as addr, pytest.raises(Permanent, match=r"127\.0\.0\.2"):
            fetch_bytes(f"http://{addr}/", rules())


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(target: str) -> None:
    with serving(reply(302, Location=target)) as addr, pytest.raises(Permanent, match="http"):
        fetch_bytes(f"http://{addr}/", rules())


def test_redirects_are_followed_but_not_for_ever() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        left = int(request.path[1:])
        (reply(302, Location=f"/{left - 1}") if left else reply(200, b"end"))(request)

    with serving(answer) as addr:
        assert fetch_bytes(f"http://{addr}/5", rules()) == b"end"
        with pytest.raises(Permanent, match="redirects"):
            fetch_bytes(f"http://{addr}/6", rules())


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name is resolved once; what it means a moment later does not matter."""
    hosts = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        hosts.append(request.headers["Host"])
        reply(200, b"ok")(request)

    with serving(answer) as addr:
        port = int(addr.rpartition(":")[2])
        answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]])
        real = socket.getaddrinfo

        def resolve(host: str, *args: object, **kwargs: object) -> object:
            return next(answers) if host == "rebind.example" else real(host, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert fetch_bytes(f"http://rebind.example:{port}/", rules("127.0.0.0/8")) == b"ok"
        assert hosts == [f"rebind.example:{port}"]


def test_a_name_with_forbidden_and_allowed_addresses_is_reached_at_an_allowed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(reply(200, b"ok")) as addr:
        port = int(addr.rpartition(":")[2])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.9", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert fetch_bytes(f"http://two.example:{port}/", rules("127.0.0.1/32")) == b"ok"


def test_a_file_announced_too_large_is_refused_at_once() -> None:
    with (
        serving(reply(200, Content_Length=str(10 * 1024**3))) as addr,
        pytest.raises(Permanent, match="10737418240 bytes, 1000 are allowed"),
    ):
        fetch_bytes(f"http://{addr}/", rules())


def test_a_file_that_does_not_end_is_cut_off() -> None:
    sent = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"x" * 65536)
            sent.append(65536)

    with serving(answer) as addr, pytest.raises(Permanent, match="more than 1000000 bytes"):
        fetch_bytes(f"http://{addr}/", rules(max_bytes=1_000_000))
    assert sum(sent) < 50_000_000


def test_a_compressed_answer_counts_by_its_real_size() -> None:
    import gzip

    body = gzip.compress(b"x" * 100_000)
    with serving(reply(200, body, Content_Encoding="gzip")) as addr:
        assert fetch_bytes(f"http://{addr}/", rules(max_bytes=100_000)) == b"x" * 100_000
        with pytest.raises(Permanent, match="more than 1000 bytes"):
            fetch_bytes(f"http://{addr}/", rules())


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_drips_is_left_after_the_time_limit(part: str) -> None:
    stop = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if part == "body" else b"X: "))
        while not stop.wait(0.05):
            request.wfile.write(b"x")

    with serving(answer) as addr:
        with pytest.raises(Retry, match="FETCHTIMEOUT"):
            fetch_bytes(f"http://{addr}/", rules(timeout=0.4))
        stop.set()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refusal_is_permanent(status: int) -> None:
    with serving(reply(status)) as addr, pytest.raises(Permanent, match=str(status)):
        fetch_bytes(f"http://{addr}/", rules())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_a_passing_trouble_is_retried(status: int) -> None:
    with serving(reply(status)) as addr, pytest.raises(Retry, match=str(status)) as caught:
        fetch_bytes(f"http://{addr}/", rules())
    assert caught.value.after is None


@pytest.mark.parametrize(
    ("value", "after"), [("7", 7), ("999999", 3600), ("Mon, 01 Jan 2001 00:00:00 GMT", 0), ("soon", None), ("-1", None), ("", None)]
)
def test_retry_after_is_honoured(value: str, after: float | None) -> None:
    with serving(reply(429, Retry_After=value)) as addr, pytest.raises(Retry) as caught:
        fetch_bytes(f"http://{addr}/", rules())
    assert caught.value.after == after


def test_a_server_that_does_not_listen_is_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Retry):
            fetch_bytes(f"http://127.0.0.1:{free.getsockname()[1]}/", rules())


def test_an_unknown_name_is_tried_again() -> None:
    with pytest.raises(Retry, match=r"nowhere\.invalid"):
        fetch_bytes("http://nowhere.invalid/", rules())


@pytest.mark.parametrize("raw", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"])
def test_an_answer_that_breaks_off_is_tried_again(raw: bytes) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(raw)

    with serving(answer) as addr, pytest.raises(Retry):
        fetch_bytes(f"http://{addr}/", rules())


def test_a_message_keeps_secrets_of_the_url_to_itself() -> None:
    with serving(reply(404)) as addr, pytest.raises(Permanent) as caught:
        fetch_bytes(f"http://user:hunter2@{addr}/path?token=abc", rules())
    assert "hunter2" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert "/path" in str(caught.value)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(reply(200, b"ok")) as addr:
        assert fetch_bytes(f"http://{addr}/", rules()) == b"ok"
