"""Settings: read once, checked at once, wrong ones named in one line each."""

from __future__ import annotations

import pytest

from dtq.config import Settings, load_settings, parse_addr
from dtq.errors import ConfigError


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_fixed_names_and_defaults() -> None:
    settings = load_settings()
    assert (settings.redisaddr, settings.apiaddr) == ("127.0.0.1:6379", "127.0.0.1:8080")
    assert (settings.maxretries, settings.workercount, settings.workertimeout) == (5, 10, 10.0)


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERCOUNT", "3")
    monkeypatch.setenv("QUEUES", "mail, images")
    settings = load_settings()
    assert settings.workercount == 3
    assert settings.queue_names == ["mail", "images"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERCOUNT", "0"),
        ("WORKERCOUNT", "ten"),
        ("WORKERCOUNT", ""),
        ("WORKERTIMEOUT", "nan"),
        ("WORKERTIMEOUT", "inf"),
        ("MAXRETRIES", "-1"),
        ("APIADDR", "8080"),
        ("APIADDR", "127.0.0.1:99999"),
        ("REDISADDR", "redis.example.com"),
        ("QUEUES", "Mail"),
        ("QUEUES", "*,mail"),
        ("LOGLEVEL", "LOUD"),
        ("DATAMEMORY", "much"),
        ("ALLOWANONYMOUS", "perhaps"),
    ],
)
def test_wrong_value_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}={value!r}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_every_wrong_variable_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERCOUNT", "ten")
    monkeypatch.setenv("APIADDR", "here")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert sorted(line.partition("=")[0] for line in str(caught.value).splitlines()) == ["APIADDR", "WORKERCOUNT"]


def test_a_password_is_not_shown_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASEURL", "mysql://dtq:sesame@db/dtq")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "sesame" not in str(caught.value)


def test_log_level_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLEVEL", "debug")
    monkeypatch.setenv("LOGFORMAT", "JSON")
    assert (load_settings().loglevel, load_settings().logformat) == ("DEBUG", "json")


@pytest.mark.parametrize(
    ("addr", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":8080", ("0.0.0.0", 8080)),
        ("[::1]:80", ("::1", 80)),
        ("host.example:0", ("host.example", 0)),
    ],
)
def test_addresses(addr: str, expected: tuple[str, int]) -> None:
    assert parse_addr(addr) == expected


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_names_have_no_underscores() -> None:
    assert [name for name in Settings.model_fields if "_" in name] == []
