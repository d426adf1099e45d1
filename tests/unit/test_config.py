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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDISADDR", "redis://:ses#ame@host:6379"),
        ("REDISADDR", "redis://:#sesame@host:6379"),
        ("REDISADDR", "redis://:ses/ame@host:6379"),
        ("REDISADDR", "redis://:1234/sesame@host:6379"),
        ("REDISADDR", "rediss://:ses?ame@host:6379"),
        ("REDISADDR", "redis://:ses[ame@host:6379"),
        ("REDISADDR", "redis://:sesame@host:port"),
        ("REDISADDR", "redis://:sesame@host:6379?db=first"),
        ("DATABASEURL", "postgresql://dtq:ses%ame@host/dtq"),
        ("DATABASEURL", "postgresql://dtq:ses/ame@host/dtq"),
        ("DATABASEURL", "postgresql://dtq:1234/sesame@host/dtq"),
        ("DATABASEURL", "postgresql://dtq:ses@ame@host/dtq"),
        ("DATABASEURL", "postgresql://dtq:sesame@host:port/dtq"),
        ("DATABASEURL", "postgresql://dtq:sesame@[::1/dtq"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    told = str(caught.value)
    assert told.startswith(f"{name}=(not shown): ")
    assert "this URL cannot be read" in told or "number of a database" in told
    assert len(told.splitlines()) == 1
    assert not [piece for piece in ("sesame", "ses", "ame@", "1234") if piece in told]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDISADDR", "redis://:s%23c%2Fr@host:6379"),
        ("REDISADDR", "redis://user:s@cret@host/3?health_check_interval=5"),
        ("REDISADDR", "rediss://[::1]:6379?ssl_ca_certs=/etc/ca/ca.crt"),
        ("REDISADDR", "unix:///run/valkey.sock?db=1"),
        ("REDISADDR", "sentinel://:s#cret@host/primary"),
        ("DATABASEURL", "postgresql://dtq:s%23c%2Fr@host:5432/dtq"),
        ("DATABASEURL", "postgresql://dtq@a:1,b:2/dtq?sslmode=verify-full&sslrootcert=/etc/ca/ca.crt"),
        ("DATABASEURL", "postgresql://dtq:s?c#r@[::1]:5432/dtq"),
        ("DATABASEURL", "postgresql:///dtq?host=/tmp&port=5433&application_name=a@b"),
    ],
)
def test_urls_that_can_be_read(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), name.lower()) == value


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
