"""What ``dtq up`` decides, and its small parts, without starting anything."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from dtq.config import Settings
from dtq.errors import ConfigError
from dtq_standalone import folder as folder_module
from dtq_standalone.child import LogFile
from dtq_standalone.console import MAX_LINE, notable
from dtq_standalone.folder import DataFolder
from dtq_standalone.plan import Addresses, curl_line, plan, restart_delay
from dtq_standalone.ports import Ports, check_free

ADDRESSES = Addresses(
    api="127.0.0.1:8080",
    redis="127.0.0.1:1",
    database="postgresql://127.0.0.1:2/dtq",
    blobs="file:///data/blobs",
    mail="/data/mail",
    sink="127.0.0.1:3",
)


def port_of(name: str) -> int:
    return {"scheduler": 10, "worker-1": 11, "worker-2": 12}[name]


def test_children_stop_from_the_entrance_inwards() -> None:
    specs = plan(Settings(workers=2), ADDRESSES, {}, port_of)
    assert [spec.name for spec in specs] == ["submitter", "scheduler", "worker-1", "worker-2", "smtp-sink"]


def test_no_sink_beside_a_given_smtp_server() -> None:
    addresses = Addresses(**{**{name: getattr(ADDRESSES, name) for name in Addresses.__slots__}, "sink": None})
    specs = plan(Settings(smtpaddr="mail.example:25"), addresses, {}, port_of)
    assert "smtp-sink" not in [spec.name for spec in specs]
    assert specs[0].environment["SMTPADDR"] == "mail.example:25"


def test_children_get_the_environment_with_our_addresses() -> None:
    environ = {"PATH": "/bin", "MAXRETRIES": "3", "redisaddr": "elsewhere:1", "LOGFORMAT": "console"}
    environment = plan(Settings(), ADDRESSES, environ, port_of)[0].environment
    assert environment["PATH"] == "/bin"
    assert environment["MAXRETRIES"] == "3"
    assert environment["REDISADDR"] == "127.0.0.1:1"
    assert environment["LOGFORMAT"] == "json"
    assert "redisaddr" not in environment


@pytest.mark.parametrize(
    ("metricsaddr", "expected"),
    [
        ("127.0.0.1:0", ["127.0.0.1:10", "127.0.0.1:11", "127.0.0.1:12"]),
        ("0.0.0.0:9100", ["0.0.0.0:9100", "0.0.0.0:9101", "0.0.0.0:9102"]),
    ],
)
def test_each_process_has_a_metrics_address_of_its_own(metricsaddr: str, expected: list[str]) -> None:
    specs = plan(Settings(workers=2, metricsaddr=metricsaddr), ADDRESSES, {}, port_of)
    assert [spec.environment["METRICSADDR"] for spec in specs[1:4]] == expected
    assert all((spec.probe or "").startswith("http://127.0.0.1:") for spec in specs[:4])


def test_workers_have_time_to_hand_jobs_back() -> None:
    worker = plan(Settings(shutdownseconds=30), ADDRESSES, {}, port_of)[2]
    assert worker.grace_s > 30


def test_restarts_slow_down_and_recover() -> None:
    delays = [restart_delay(1.0, deaths) for deaths in range(1, 9)]
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert restart_delay(3600.0, 0) == 0.5


def test_curl_line_names_an_address_one_can_connect_to() -> None:
    assert "http://127.0.0.1:80/submit" in curl_line("0.0.0.0:80", with_key=False)
    assert "http://[::1]:80/submit" in curl_line("[::]:80", with_key=False)
    assert "Authorization: Bearer" in curl_line("127.0.0.1:80", with_key=True)


def test_ports_are_remembered(tmp_path: Path) -> None:
    first = Ports(tmp_path / "ports.json")
    taken = {name: first.take(name) for name in ("valkey", "postgres")}
    first.save()
    again = Ports(tmp_path / "ports.json")
    assert {name: again.take(name) for name in taken} == taken


def test_a_remembered_port_that_is_in_use_is_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "ports.json").write_text(json.dumps({"valkey": port}))
        assert Ports(tmp_path / "ports.json").take("valkey") != port


@pytest.mark.parametrize("content", ["", "[]", '{"valkey": "x"}', '{"valkey": 99999999}', "\x00"])
def test_a_damaged_port_file_is_no_trouble(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    assert 0 < Ports(tmp_path / "ports.json").take("valkey") < 65536


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^APIADDR=192\.0\.2\.1:8080: this is no address of this machine"):
        check_free("APIADDR", "192.0.2.1:8080")


def test_too_little_disk_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match=r"^DATADIR=.*: only \d+ MB of disk space are free"):
        DataFolder(str(tmp_path)).open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=r"^DATADIR=.*: Permission denied"):
        DataFolder(str(tmp_path)).open()


def test_the_file_with_passwords_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = DataFolder(str(tmp_path))
    path = folder.write_env({"DATABASEURL": "postgresql://u:p@h/d"})
    assert path.read_text() == "DATABASEURL='postgresql://u:p@h/d'\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", limit=10)
    for line in (b"12345678\n", b"abcdefgh\n", b"ABCDEFGH\n"):
        log.write(line)
    assert (tmp_path / "a.log").read_bytes() == b"ABCDEFGH\n"
    assert (tmp_path / "a.log.old").read_bytes() == b"abcdefgh\n"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"level": "info", "event": "job_done"}, None),
        ({"level": "warning", "event": "redis_away", "error": "no route", "timestamp": "t"}, "w: warning: redis_away error=no route"),
        ({"level": "error", "event": "bug", "exception": "Traceback\n  x\nValueError: 1"}, "w: error: bug ValueError: 1"),
        (["warning"], None),
    ],
)
def test_only_warnings_and_errors_reach_the_console(entry: object, expected: str | None) -> None:
    assert notable("w", json.dumps(entry).encode(), raw=False) == expected


def test_console_lines_are_short() -> None:
    line = notable("w", json.dumps({"level": "error", "event": "x" * 5000}).encode(), raw=False)
    assert line is not None
    assert len(line) <= MAX_LINE + 1


def test_what_is_no_log_entry_stays_in_the_file() -> None:
    assert notable("w", b"Traceback (most recent call last):", raw=False) is None
