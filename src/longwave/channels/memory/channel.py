"""A channel that delivers into this process: for tests of all that is above channels, and as an example.

    outbox = memory.outbox("shop")                    # the account's secret names the outbox
    outbox.script(Throttled(1.0), Gone("moved"))      # the next two sends
    outbox.script_for("ann", Rejected("no"))          # every send to one address
    ...
    outbox.messages                                   # what was delivered, in order

An outbox lives as long as the process and grows with what it holds; `clear` empties it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from longwave.channels.base import (
    LEAVING,
    Account,
    AccountRefused,
    Channel,
    Identity,
    Message,
    Recipient,
    TemplateError,
)
from longwave.channels.template import Template
from longwave.core.errors import InvalidInput, Problem
from longwave.core.outcomes import Outcome, Sent, Unknown

REFUSED = "refused"
"""The secret of an account that this provider does not accept."""
MAX_TEXT = 4096


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A text. `file` stands for a file that has to be uploaded once."""

    text: str
    file: str | None = None


class Delivered(NamedTuple):
    """One message that arrived. `at` is time.time()."""

    address: str
    text: str
    message_id: str
    at: float


class Outbox:
    """What one account delivered, and what shall become of its next sends."""

    def __init__(self) -> None:
        self.messages: list[Delivered] = []
        self.latency = 0.0
        self._next: deque[Outcome] = deque()
        self._always: dict[str, Outcome] = {}

    def script(self, *outcomes: Outcome) -> None:
        """The outcomes of the next sends, one each, whoever they go to. Sent and Unknown deliver."""
        self._next.extend(outcomes)

    def script_for(self, address: str, outcome: Outcome) -> None:
        """The outcome of every send to this address."""
        self._always[address] = outcome

    def clear(self) -> None:
        """Forget messages and scripts."""
        self.messages.clear()
        self._next.clear()
        self._always.clear()
        self.latency = 0.0

    def deliver(self, address: str, text: str) -> Outcome:
        """What becomes of one send. A scripted Sent gets the id of the message that was delivered."""
        outcome = self._next.popleft() if self._next else self._always.get(address, Sent(""))
        if isinstance(outcome, Sent | Unknown):
            message_id = str(len(self.messages) + 1)
            self.messages.append(Delivered(address, text, message_id, time.time()))
            return Sent(message_id) if isinstance(outcome, Sent) else outcome
        return outcome


_OUTBOXES: dict[str, Outbox] = {}


def outbox(name: str = "") -> Outbox:
    """The outbox of the account with that secret, in this process."""
    return _OUTBOXES.setdefault(name, Outbox())


class MemoryMessage:
    """A text ready to be sent."""

    weight = 1

    def __init__(self, content: Content, media: Mapping[str, str]) -> None:
        self.needs_upload = content.file is not None and "file" not in media
        self.is_personal = "{" in content.text
        self._template = Template(content.text)

    def render(self, recipient: Recipient) -> bytes:
        """Address and text as JSON. Raises TemplateError."""
        return orjson.dumps([recipient.address, self._template.render(recipient.fields)])


class MemoryConnection:
    """An open way into one outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def send(self, message: Message, request: bytes) -> Outcome:
        """Deliver one rendered request, after the outbox' latency."""
        leaving = LEAVING.get()
        if leaving is not None:
            leaving()
        await asyncio.sleep(self._outbox.latency)
        address, text = orjson.loads(request)
        return self._outbox.deliver(address, text)

    async def upload(self, message: Message, recipient: Recipient) -> tuple[Outcome, Mapping[str, str]]:
        """Deliver, and name the file. Raises TemplateError."""
        outcome = await self.send(message, message.render(recipient))
        return outcome, {"file": f"file-{outcome.message_id}"} if isinstance(outcome, Sent) else {}

    async def close(self) -> None:
        """There is nothing to close."""


class MemoryChannel:
    """Messages that stay in this process."""

    name = "memory"
    default_rate = 1000.0
    presets: Mapping[str, float] = {"standard": 1000.0}

    def parse(self, data: Mapping[str, Any]) -> Content:
        """`{"text": …}`, perhaps with `file`. Raises InvalidInput."""
        try:
            return msgspec.convert(dict(data), Content)
        except (msgspec.ValidationError, TypeError) as error:
            raise InvalidInput(Problem("content", data, f'{error}; it reads {{"text": "…"}}')) from None

    def to_json(self, content: Content) -> dict[str, Any]:
        """Plain data that `parse` turns into the same content again."""
        plain: dict[str, Any] = msgspec.to_builtins(content)
        return plain

    def check(self, content: Content, *, paid: bool) -> list[Problem]:
        """Wrong lengths, templates that are none, and paid, which this channel does not have."""
        problems = _check_text(content.text)
        if paid:
            problems.append(Problem("paid", True, "this channel has no paid messages"))
        try:
            Template(content.text)
        except TemplateError as error:
            problems.append(Problem("text", content.text, str(error)))
        return problems

    def templates(self, content: Content) -> Mapping[str, str]:
        """`{content field: template source}`."""
        return {"text": content.text} if "{" in content.text else {}

    def compile(self, content: Content, *, paid: bool, media: Mapping[str, str]) -> MemoryMessage:
        """Content made ready to send. Raises TemplateError."""
        return MemoryMessage(content, media)

    def preview(self, content: Content, recipient: Recipient, *, paid: bool) -> list[Problem]:
        """What is wrong with the message as this recipient would get it."""
        problems = self.check(content, paid=paid)
        if problems:
            return problems
        try:
            return _check_text(Template(content.text).render(recipient.fields))
        except TemplateError as error:
            return [Problem("text", content.text, str(error))]

    async def identify(self, account: Account) -> Identity:
        """Everybody but the account with the secret "refused". Raises AccountRefused."""
        if account.secret == REFUSED:
            raise AccountRefused('the memory channel refuses the secret "refused"; give any other')
        return Identity(account.secret, f"memory {account.secret}".strip(), {})

    async def connect(self, account: Account) -> MemoryConnection:
        """Open the account's outbox."""
        return MemoryConnection(outbox(account.secret))


def _check_text(text: str) -> list[Problem]:
    if 0 < len(text) <= MAX_TEXT:
        return []
    return [Problem("text", text, f"has {len(text)} characters; must have 1 to {MAX_TEXT}")]


CHANNEL: Channel = MemoryChannel()
