"""Mail addresses, as payloads take them: ``user@example.com`` or ``Jane Doe <jane@example.com>``."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from dtq.jobs.fields import only_printable

__all__ = ["Address", "Mailbox", "Recipients", "parse_address"]

MAX_ADDRESS = 254
"""Characters of an address (RFC 5321, 4.5.3.1.3)."""

MAX_RECIPIENTS = 1000
"""Recipients in one field."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NAMED = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<spec>[^<>]+)>\s*")


class Mailbox(NamedTuple):
    """An address taken apart: display ``name`` (maybe empty), ``local`` part and ``domain`` (IDNA-encoded, ASCII)."""

    name: str
    local: str
    domain: str

    @property
    def spec(self) -> str:
        """The bare address, as SMTP takes it."""
        return f"{self.local}@{self.domain}"


def _split(spec: str) -> tuple[str, str]:
    """Local part and ASCII domain. Hosts without a dot and domains such as .local are fine: mail is also used inside a cluster.

    Raises:
        ValueError: not an address.
    """
    if len(spec) > MAX_ADDRESS:
        raise ValueError(f"an address has at most {MAX_ADDRESS} characters")
    if not _PLAIN.fullmatch(spec):  # other than plain ASCII, or wrong: the library knows the rules and names the fault
        from email_validator import EmailNotValidError, validate_email

        try:
            found = validate_email(spec, check_deliverability=False, globally_deliverable=False, strict=True)
        except EmailNotValidError as error:
            raise ValueError(f"not an email address: {error}") from None
        return found.local_part, found.ascii_domain
    local, _, domain = spec.rpartition("@")
    return local, domain


def parse_address(text: str) -> Mailbox:
    """Take an address apart.

    Raises:
        ValueError: not an address, or it holds a line break.
    """
    only_printable(text)
    match = _NAMED.fullmatch(text)
    if match is None:
        return Mailbox("", *_split(text.strip()))
    name = match["name"]
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return Mailbox(name, *_split(match["spec"].strip()))


def _check(text: str) -> str:
    parse_address(text)
    return text


def _listed(value: Any) -> Any:
    """One address may stand without a list. It is checked here, so that its error names the field and not an index."""
    return [_check(value)] if isinstance(value, str) else value


Address = Annotated[str, StringConstraints(max_length=500), AfterValidator(_check), Field(json_schema_extra={"format": "email"})]
Recipients = Annotated[
    list[Address],
    Field(max_length=MAX_RECIPIENTS),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
]
"""One address or a list of them; always a list once read."""
