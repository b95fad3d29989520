"""One message now: to anybody, or to a sender's admins."""

import re
from collections.abc import Mapping
from typing import Any

import structlog
from django.db import transaction

from longwave import channels, database
from longwave.channels.base import Recipient
from longwave.core.errors import Conflict, InvalidInput
from longwave.jobs import JobHandle
from longwave.jobs.declare import AnyJob
from longwave.jobs.submission import MAX_SERIAL_KEY
from longwave.senders import senders, tasks
from longwave.senders.models import Sender, SenderStatus

log = structlog.get_logger("longwave.senders")

_TEMPLATE_SYNTAX = re.compile(r"\{(?=[{%#])")

ADMIN_TEXT = 3500
"""Characters of a notice to an admin: below Telegram's 4096 units, whatever they count as."""


def notify(
    sender: Sender,
    address: str,
    content: Mapping[str, Any],
    fields: Mapping[str, Any] | None = None,
    *,
    job: AnyJob = tasks.send_notification,
) -> JobHandle:
    """Send `content` to one address, ahead of campaigns, as a job on queue `notifications`.

    Messages to one address are sent in the order in which they were submitted.
    fields: what its templates may use. job: the one that sends it. Raises InvalidInput for what the provider would
    refuse, Conflict for a sender that is broken.
    """
    if sender.status != SenderStatus.ACTIVE:
        raise Conflict(senders.why_broken(sender))
    channel, values = channels.get(sender.channel), dict(fields or {})
    parsed = channel.parse(content)
    problems = channel.check(parsed, paid=False)
    problems = problems or channel.preview(parsed, Recipient(address, values), paid=False)
    if problems:
        raise InvalidInput(*problems)
    # What is tried for hours must not keep back what comes after it.
    is_in_line = job is tasks.send_notification
    return job.submit(
        sender_id=sender.id,
        address=address,
        content=channel.to_json(parsed),
        fields=values,
        job_serial_key=f"{sender.name} to {address}"[:MAX_SERIAL_KEY] if is_in_line else None,
    )


def notify_text(sender: Sender, address: str, text: str, more: Mapping[str, Any] | None = None) -> JobHandle:
    """Send exactly this text, whatever templates it looks like. more: what else the content shall have."""
    return notify(sender, address, {**plain_text(sender, quoted(text)), **(more or {})})


def quoted(text: str) -> str:
    """The template that renders to exactly `text`. (In MarkdownV2 to `\\{` for such a brace, which means the same.)"""
    return _TEMPLATE_SYNTAX.sub("{{ '{' }}", text)


def notify_admins(sender: Sender, text: str) -> int:
    """Tell the sender's admin chats, in the caller's transaction. Returns how many will be told.

    It reports trouble and makes none: nothing is raised, but for what ends the caller's transaction as well.
    """
    told = 0
    for chat in sender.admin_chats:
        try:
            with transaction.atomic():
                # As a field, not as the content: an error text may look like a template.
                content, fields = plain_text(sender, "{{ notice }}"), {"notice": _short(text)}
                notify(sender, str(chat), content, fields, job=tasks.tell_admin)
            told += 1
        except Exception as error:
            if database.is_passing(error):
                raise
            log.warning("admin_not_told", sender=sender.name, chat=chat, error=str(error))
    return told


def plain_text(sender: Sender, text: str) -> dict[str, Any]:
    """The content that is just this text, as the sender's channel writes it."""
    return {"text": text} if sender.channel == "memory" else {"kind": "text", "text": text}


def _short(text: str) -> str:
    return text if len(text) <= ADMIN_TEXT else text[: ADMIN_TEXT - 1] + "…"
