"""Handler of ``email``."""

from __future__ import annotations

import asyncio
from typing import Any

from dtq.config import Settings
from dtq.errors import Permanent
from dtq.jobs.addresses import Mailbox, parse_address
from dtq.jobs.email import EMAIL, Attachment, Email
from dtq.jobs.fields import decode_base64
from dtq.registry import JobContext, handler
from dtq_worker.handlers.inputs import blob_errors, store_of
from dtq_worker.handlers.mime import build_message, envelope, message_id, needs_utf8
from dtq_worker.handlers.smtp import connection, deliver

__all__ = ["send_email"]

MAX_ATTACHMENTS = 50 * 1024 * 1024
"""Bytes of all attachments; few mail servers take half of it."""


@handler(EMAIL)
async def send_email(payload: Email, ctx: JobContext) -> dict[str, Any]:
    """Send a message.

    Returns:
        ``{message_id, accepted: [address], refused: {address: {code, message, temporary}}}``. The job succeeds when the
        server takes the message for at least one recipient.
    """
    sender = _sender(payload, ctx.settings)
    recipients = envelope(payload)
    utf8 = needs_utf8([sender, *recipients, *map(parse_address, payload.reply_to)])
    contents = await _contents(payload.attachments, ctx.settings)
    # Encoding megabytes would hold up every other job on the loop.
    build = asyncio.to_thread if contents else _call
    message = await build(build_message, payload, contents, sender, ctx.id, utf8=utf8)
    # A context that does not know how many retries are left counts as the last attempt: better some get it than nobody.
    may_postpone = ctx.retries_left > 0
    async with connection(ctx.settings) as client:
        specs = [mailbox.spec for mailbox in recipients]
        delivery = await deliver(client, sender.spec, specs, message, utf8=utf8, may_postpone=may_postpone)
    refused = {
        address: {"code": refusal.code, "message": refusal.message, "temporary": refusal.temporary}
        for address, refusal in delivery.refused.items()
    }
    return {"message_id": message_id(ctx.id, sender), "accepted": delivery.accepted, "refused": refused}


async def _call(function: Any, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _sender(payload: Email, settings: Settings) -> Mailbox:
    try:
        return parse_address(payload.from_ or settings.smtpfrom)
    except ValueError as error:
        raise Permanent(f"SMTPFROM={settings.smtpfrom!r}: {error}") from None


async def _contents(attachments: list[Attachment], settings: Settings) -> list[bytes]:
    """The attachments' bytes, in order."""
    contents: list[bytes] = []
    for attachment in attachments:
        left = MAX_ATTACHMENTS - sum(map(len, contents))
        if attachment.content_base64 is not None:
            contents.append(decode_base64(attachment.content_base64))
        else:
            with blob_errors():
                contents.append(await store_of(settings).get_async(attachment.blob or "", max(0, left)))
        if sum(map(len, contents)) > MAX_ATTACHMENTS:
            raise Permanent(f"the attachments have more than {MAX_ATTACHMENTS} bytes together; send links instead")
    return contents
