"""Which addresses a job may fetch from."""

from __future__ import annotations

import ipaddress

import pytest

from dtq.errors import ConfigError
from dtq_worker.netrules import FetchRules, forbidden_reason


@pytest.mark.parametrize("text", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"])
def test_a_public_address_is_allowed(text: str) -> None:
    assert forbidden_reason(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize(
    "text",
    (  # noqa: SIM905 - a list would take a line each
        "127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200 0.0.0.0 "
        "224.0.0.1 240.0.0.1 255.255.255.255 192.0.0.1 192.0.2.1 198.18.0.1 203.0.113.1 168.63.129.16 "
        ":: ::1 fe80::1 fc00::1 fd00:ec2::254 fec0::1 ff02::1 2001:db8::1 ::127.0.0.1 100::1 "
        "::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2001:0:1::1"
    ).split(),
)
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert forbidden_reason(ipaddress.ip_address(text)) is not None


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        ("", False),
        ("files.internal", True),
        ("FILES.internal:8080", True),
        ("files.internal:80", False),
        ("10.1.0.0/16", True),
        ("10.1.2.3", True),
        ("10.2.0.0/16, other", False),
        ("internal", False),
    ],
)
def test_an_operator_may_allow_hosts_and_networks(allow: str, allowed: bool) -> None:
    rules = FetchRules.parse(allow, 1, 1)
    assert (rules.refusal("Files.Internal", 8080, ipaddress.ip_address("10.1.2.3")) is None) is allowed


def test_an_allowed_ipv4_network_holds_its_mapped_addresses() -> None:
    assert FetchRules.parse("10.0.0.0/8", 1, 1).refusal("x", 80, ipaddress.ip_address("::ffff:10.0.0.1")) is None


def test_a_refusal_names_host_address_and_setting() -> None:
    refusal = FetchRules.parse("", 1, 1).refusal("meta.example", 80, ipaddress.ip_address("169.254.169.254"))
    assert refusal is not None
    for word in ("meta.example", "169.254.169.254", "link-local", "FETCHALLOW"):
        assert word in refusal


@pytest.mark.parametrize("allow", ["10.0.0.0/33", "http://x", "host:http", "a b", ":80", "user@host"])
def test_a_wrong_entry_is_refused_at_the_start(allow: str) -> None:
    with pytest.raises(ConfigError, match="FETCHALLOW"):
        FetchRules.parse(allow, 1, 1)
