"""Which hosts and addresses a job may fetch from: pure decisions.

A URL in a payload is written by whoever may submit jobs, so the worker must not become their way into its own network
(server-side request forgery). Only public addresses are reachable unless FETCHALLOW names others.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from dtq.config import Settings
from dtq.errors import ConfigError

__all__ = ["FetchRules", "forbidden_reason", "rules_of"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL = {
    ipaddress.ip_address("168.63.129.16"): "a cloud platform's own",  # Azure's WireServer has a public address
}


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if any: mapped, 6to4 (RFC 3056) or NAT64 (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def forbidden_reason(address: Address) -> str | None:
    """Why an address is not public ("a loopback", "a private", ...), or None if it is.

    Source: the IANA special-purpose address registries, as the standard library has them, and what they leave out.
    """
    address = _embedded(address)
    checks = {
        "a cloud platform's own": address in _SPECIAL,
        "an unspecified": address.is_unspecified,
        "a loopback": address.is_loopback,
        "a link-local": address.is_link_local,
        "a multicast": address.is_multicast,
        "a reserved": address.is_reserved,
        "a private": address.is_private or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local),
        "a non-public": not address.is_global,
    }
    return next((reason for reason, applies in checks.items() if applies), None)


@dataclass(frozen=True, slots=True)
class FetchRules:
    """Limits of a fetch: ``max_bytes``, ``timeout`` in seconds for all of it, and what is allowed although private.

    ``hosts`` are lower-case names with a port or None for any port; ``networks`` are compared with addresses.
    """

    max_bytes: int
    timeout: float
    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, allow: str, max_bytes: int, timeout: float) -> FetchRules:
        """Read FETCHALLOW: hosts, host:port and networks, comma-separated.

        Raises:
            ConfigError: an entry is none of these.
        """
        hosts: set[tuple[str, int | None]] = set()
        networks: list[Network] = []
        for entry in filter(None, (part.strip() for part in allow.split(","))):
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.add(_parse_host(entry))
        return cls(max_bytes, timeout, frozenset(hosts), tuple(networks))

    def refusal(self, host: str, port: int, address: Address) -> str | None:
        """Why ``host`` must not be reached at ``address``, or None if it may."""
        reason = forbidden_reason(address)
        name = host.lower().rstrip(".")
        if reason is None or (name, port) in self.hosts or (name, None) in self.hosts:
            return None
        if any(candidate in network for candidate in (address, _embedded(address)) for network in self.networks):
            return None
        where = host if host == str(address) else f"{host} ({address})"
        return f"{where} has {reason} address, which jobs may not fetch from; an operator can allow it in FETCHALLOW"


def _parse_host(entry: str) -> tuple[str, int | None]:
    host, sep, port = entry.rpartition(":")
    if not sep:
        host, port = entry, ""
    host = host.lower().strip("[]").rstrip(".")
    if not host or any(char in host for char in "/@ ") or (sep and not port.isdecimal()):
        raise ConfigError(f"FETCHALLOW entry {entry!r}: expected a host, host:port or network such as 10.0.0.0/8")
    return host, int(port) if port else None


def rules_of(settings: Settings) -> FetchRules:
    """The limits that the settings give.

    Raises:
        ConfigError: FETCHALLOW cannot be read.
    """
    return FetchRules.parse(settings.fetchallow, settings.fetchmaxbytes, settings.fetchtimeout)
