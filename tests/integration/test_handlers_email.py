"""The handler of email, against real SMTP servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import socket
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from dtq.blobs import BlobStore
from dtq.config import Settings, load_settings
from dtq.errors import Permanent, Retry
from dtq.jobs import Email
from dtq.testing import FakeContext
from dtq_standalone.smtp_sink import SmtpSink
from dtq_worker.handlers.email import send_email

MAIL: dict[str, Any] = {"to": "user@example.com", "subject": "Test Email", "body": "This is a test email."}


class Server:
    """An SMTP server that keeps messages, and answers as ``replies`` say: by command, or by recipient."""

    def __init__(self, **replies: str) -> None:
        self.replies = replies
        self.mails: list[tuple[list[str], bytes]] = []

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        if "MAIL" in self.replies:
            return self.replies["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        reply = self.replies.get(address.partition("@")[0], "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        reply = self.replies.get("DATA", "250 OK")
        if reply.startswith("250"):
            self.mails.append((list(envelope.rcpt_tos), envelope.original_content or b""))
        return reply


@contextlib.asynccontextmanager
async def running(handler: object, **options: Any) -> AsyncIterator[Settings]:
    """Settings that lead to a server with this handler."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True, loop=loop, **options), "127.0.0.1", 0)
    try:
        yield load_settings(smtpaddr=f"127.0.0.1:{server.sockets[0].getsockname()[1]}", smtpfrom="dtq@sender.example")
    finally:
        server.close()


async def send(settings: Settings, retries_left: int = 0, **fields: Any) -> dict[str, Any]:
    payload = Email.model_validate({**MAIL, **fields})
    return cast("dict[str, Any]", await send_email.func(payload, FakeContext(settings, id="job1", retries_left=retries_left)))


def parsed(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)


async def test_the_classic_mail_arrives() -> None:
    server = Server()
    async with running(server) as settings:
        result = await send(settings)
    assert result == {"message_id": "<job1@sender.example>", "accepted": ["user@example.com"], "refused": {}}
    message = parsed(server.mails[0][1])
    assert (message["To"], message["From"], message["Subject"]) == ("user@example.com", "dtq@sender.example", "Test Email")
    assert message["Date"].datetime is not None
    assert message.get_content().strip() == "This is a test email."


async def test_every_attempt_has_the_same_message_id() -> None:
    server = Server()
    async with running(server) as settings:
        assert (await send(settings))["message_id"] == (await send(settings))["message_id"]
    assert parsed(server.mails[0][1])["Message-ID"] == "<job1@sender.example>"


async def test_a_full_mail_keeps_all_its_parts(tmp_path: Path) -> None:
    BlobStore.from_url(f"file://{tmp_path}").put("logo.png", b"\x89PNG")
    server = Server()
    files = [
        {"filename": "übersicht.csv", "content_base64": base64.b64encode(b"a,b\n").decode()},
        {"filename": "logo.png", "blob": "logo.png"},
        {"filename": "old.eml", "content_base64": "eA=="},
    ]
    async with running(server) as settings:
        settings = settings.model_copy(update={"bloburl": f"file://{tmp_path}"})
        result = await send(
            settings,
            to=["Jane Döe <jane@example.com>", "b@example.com"],
            cc="c@example.com",
            bcc=["secret@example.com", "c@example.com"],
            subject="Grüße " * 30,
            html="<p>hé</p>",
            reply_to="r@example.com",
            attachments=files,
            headers={"List-Unsubscribe": f"<https://example.com/{'u' * 200}>"},
            from_="Me <me@example.com>",
        )
    assert result["accepted"] == ["jane@example.com", "b@example.com", "c@example.com", "secret@example.com"]
    message = parsed(server.mails[0][1])
    assert message["To"] == "Jane Döe <jane@example.com>, b@example.com"
    assert (message["From"], message["Cc"], message["Reply-To"]) == ("Me <me@example.com>", "c@example.com", "r@example.com")
    assert message["Subject"].strip() == ("Grüße " * 30).strip()
    assert f"<https://example.com/{'u' * 200}>".encode() in server.mails[0][1]
    assert "secret" not in message.as_string()
    assert [part.get_content_type() for part in message.walk() if not part.is_multipart()] == [
        "text/plain",
        "text/html",
        "text/csv",
        "image/png",
        "application/octet-stream",
    ]
    attached = [(part.get_filename(), part.get_payload(decode=True)) for part in message.iter_attachments()]
    assert attached == [("übersicht.csv", b"a,b\n"), ("logo.png", b"\x89PNG"), ("old.eml", b"x")]


async def test_no_line_of_a_message_is_too_long_or_beyond_ascii() -> None:
    server = Server()
    async with running(server) as settings:
        await send(settings, body="é" * 5000 + "\n.\r\n..\nx\rend", to=[f"user{number}@example.com" for number in range(50)])
    data = server.mails[0][1]
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")


async def test_bodies_with_dots_and_odd_line_ends_arrive_whole() -> None:
    server = Server()
    async with running(server) as settings:
        await send(settings, body=".\n..\nend\n.")
    assert parsed(server.mails[0][1]).get_content().splitlines() == [".", "..", "end", "."]


async def test_a_html_only_mail_to_bcc_names_nobody() -> None:
    server = Server()
    async with running(server) as settings:
        await send_email.func(Email.model_validate({"bcc": "b@example.com", "html": "<p>"}), FakeContext(settings))
    message = parsed(server.mails[0][1])
    assert message.get_content_type() == "text/html"
    assert server.mails[0][0] == ["b@example.com"]
    assert "b@example.com" not in message.as_string()


async def test_an_address_beyond_ascii_is_sent_in_utf8() -> None:
    server = Server()
    async with running(server) as settings:
        result = await send(settings, to=["jané@example.com", "a@münchen.de"])
    assert result["accepted"] == ["jané@example.com", "a@xn--mnchen-3ya.de"]


@pytest.mark.parametrize("command", ["MAIL", "DATA", "user"])
@pytest.mark.parametrize(("reply", "signal"), [("451 later", Retry), ("552 never", Permanent)])
async def test_a_reply_decides_by_its_class(command: str, reply: str, signal: type[Exception]) -> None:
    async with running(Server(**{command: reply})) as settings:
        with pytest.raises(signal, match=reply):
            await send(settings, retries_left=1)


async def test_a_recipient_refused_for_good_does_not_stop_the_others() -> None:
    server = Server(gone="550 no such user")
    async with running(server) as settings:
        result = await send(settings, retries_left=3, to=["gone@example.com", "ok@example.com"])
    assert result["accepted"] == ["ok@example.com"]
    assert result["refused"] == {"gone@example.com": {"code": 550, "message": "no such user", "temporary": False}}


async def test_a_recipient_refused_for_now_postpones_the_mail_so_that_nobody_gets_it_twice() -> None:
    server = Server(grey="450 greylisted")
    async with running(server) as settings:
        with pytest.raises(Retry, match="nothing was sent yet"):
            await send(settings, retries_left=1, to=["ok@example.com", "grey@example.com"])
        assert server.mails == []
        del server.replies["grey"]
        await send(settings, retries_left=0, to=["ok@example.com", "grey@example.com"])
    assert [recipients for recipients, _ in server.mails] == [["ok@example.com", "grey@example.com"]]


async def test_the_last_attempt_sends_to_whom_it_can() -> None:
    async with running(Server(grey="450 greylisted")) as settings:
        result = await send(settings, to=["ok@example.com", "grey@example.com"])
    assert result["accepted"] == ["ok@example.com"]
    assert result["refused"]["grey@example.com"]["temporary"] is True


async def test_when_all_are_refused_one_for_now_the_job_is_retried() -> None:
    async with running(Server(grey="450 greylisted", gone="550 no")) as settings:
        with pytest.raises(Retry, match="every recipient"):
            await send(settings, to=["gone@example.com", "grey@example.com"])


async def test_many_recipients_go_in_several_transactions() -> None:
    server = Server()
    everyone = [f"user{number}@example.com" for number in range(250)]
    async with running(server) as settings:
        assert (await send(settings, to=everyone))["accepted"] == everyone
    assert [len(recipients) for recipients, _ in server.mails] == [100, 100, 50]


async def test_a_server_that_fails_after_some_got_the_mail_is_reported_not_retried() -> None:
    class Once(Server):
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
            return await super().handle_DATA(server, session, envelope) if not self.mails else "451 full"

    async with running(Once()) as settings:
        result = await send(settings, retries_left=3, to=[f"user{number}@example.com" for number in range(150)])
    assert (len(result["accepted"]), len(result["refused"])) == (100, 50)


async def test_a_server_that_is_away_is_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Retry, match="SMTP server"):
            await send(load_settings(smtpaddr=f"127.0.0.1:{free.getsockname()[1]}"))


@pytest.mark.parametrize("greeting", [b"", b"421 busy\r\n", b"554 go away\r\n", b"garbage\r\n"])
async def test_a_server_that_does_not_serve_is_retried_or_not_by_its_words(greeting: bytes) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    with pytest.raises(Permanent if greeting.startswith(b"5") else Retry):
        await send(load_settings(smtpaddr=f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    server.close()


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
async def test_a_wrong_login_is_permanent_and_a_right_one_sends() -> None:
    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == b"right", handled=False)

    server = Server()
    async with running(server, authenticator=check, auth_require_tls=False, auth_required=True) as settings:
        with pytest.raises(Permanent, match="535"):
            await send(settings.model_copy(update={"smtpuser": "me", "smtppassword": "wrong"}))
        await send(settings.model_copy(update={"smtpuser": "me", "smtppassword": "right"}))
    assert len(server.mails) == 1


async def test_encryption_that_the_server_lacks_is_permanent() -> None:
    async with running(Server()) as settings:
        with pytest.raises(Permanent, match="STARTTLS"):
            await send(settings.model_copy(update={"smtptls": "starttls"}))


async def test_a_message_too_large_for_the_server_is_permanent() -> None:
    async with running(Server(), data_size_limit=1000) as settings:
        with pytest.raises(Permanent, match="552"):
            await send(settings, body="x" * 2000)


async def test_a_missing_attachment_is_permanent(tmp_path: Path) -> None:
    settings = load_settings(bloburl=f"file://{tmp_path}")
    with pytest.raises(Permanent, match=r"no blob 'a\.pdf'"):
        await send(settings, attachments=[{"filename": "a.pdf", "blob": "a.pdf"}])


async def test_the_sink_keeps_a_file_for_every_message(tmp_path: Path) -> None:
    sink = SmtpSink(tmp_path / "mail")
    settings = load_settings(smtpaddr=f"127.0.0.1:{await sink.start()}")
    await asyncio.gather(*(send(settings, subject=f"n{number}", bcc="hidden@example.com") for number in range(20)))
    await sink.stop()
    mails = [parsed(path.read_bytes()) for path in (tmp_path / "mail").iterdir() if path.suffix == ".eml"]
    assert sorted(mail["Subject"] for mail in mails) == sorted(f"n{number}" for number in range(20))
    assert mails[0].get_all("X-RcptTo") == ["user@example.com", "hidden@example.com"]
    assert not [path for path in (tmp_path / "mail").iterdir() if path.suffix == ".partial"]
