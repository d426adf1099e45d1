"""sentinel:// addresses: what is read from them, and that wrong ones are told without their passwords."""

from __future__ import annotations

import pytest

from dtq.config import Settings, load_settings
from dtq.errors import ConfigError
from dtq.masking import masked
from dtq.sentinel import SentinelAddress, parse_sentinel
from dtq.show_config import show


def test_the_shortest_address() -> None:
    assert parse_sentinel("sentinel://a/mymaster") == SentinelAddress((("a", 26379),), "mymaster")


def test_everything_that_can_be_said() -> None:
    url = "sentinel://us%40er:p%2Fw%40@a.example:1,[::1]:2,b/my%20master/3?sentinel_username=su&sentinel_password=s%26p"
    hosts = (("a.example", 1), ("::1", 2), ("b", 26379))
    assert parse_sentinel(url) == SentinelAddress(hosts, "my master", 3, "us@er", "p/w@", "su", "s&p")


def test_a_password_without_a_user() -> None:
    found = parse_sentinel("sentinel://:secret@a:1/m")
    assert (found.username, found.password) == (None, "secret")


WRONG = [
    "sentinel://",
    "sentinel://a:1",
    "sentinel:///m",
    "sentinel://a:1,/m",
    "sentinel://a:0/m",
    "sentinel://a:70000/m",
    "sentinel://a:x/m",
    "sentinel://[::1/m",
    "sentinel://[::1]1/m",
    "sentinel://a:1/m/x",
    "sentinel://a:1/m?ssl=true",
    "sentinels://a:1/m",
]


@pytest.mark.parametrize("url", WRONG)
def test_wrong_addresses_are_told_in_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISADDR", url)
    with pytest.raises(ConfigError) as error:
        load_settings()
    [line] = str(error.value).splitlines()
    assert line.startswith(f"REDISADDR={url!r}: expected ")
    assert "sentinel://" in line.partition(": expected ")[2]


def test_a_wrong_address_does_not_show_its_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISADDR", "sentinel://user:hid/den@a:1?sentinel_password=hidden")
    with pytest.raises(ConfigError) as error:
        load_settings()
    assert "hid" not in str(error.value)


@pytest.mark.parametrize("form", ["text", "json"])
def test_shown_settings_hide_its_passwords(form: str) -> None:
    settings = Settings(redisaddr="sentinel://user:hidden@a:1,b:2/m/1?sentinel_username=su&sentinel_password=hidden")
    text = show(settings, form)
    assert "hidden" not in text
    assert "sentinel://user:***@a:1,b:2/m/1?sentinel_username=su&sentinel_password=***" in text


def test_other_urls_are_masked_as_ever() -> None:
    assert masked("redis://:pw@h:1/0") == "redis://:***@h:1/0"
    assert masked("redis://h:1/0") == "redis://h:1/0"
