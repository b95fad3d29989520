"""What every channel looks like to the rest of Longwave: parse and check content, compile it, connect, send.

A channel knows its provider and nothing of campaigns, lanes or the database. docs/adding-a-channel.md is the
checklist.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from longwave.core.errors import LongwaveError, Problem
from longwave.core.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Account:
    """What a channel needs to act as a sender. `secret` is a bot token or a password, and is never shown."""

    secret: str = field(repr=False)
    base_url: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the provider says of an account: its stable id, the name people see, and the rest as given."""

    id: str
    name: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recipient:
    """One contact as a message sees it.

    fields: what templates may use; may be empty when the message is not personal.
    """

    address: str
    fields: Mapping[str, Any]


LEAVING: ContextVar[Callable[[], None] | None] = ContextVar("longwave_leaving", default=None)
"""Called by a connection, when it is set, just before a request is written. A send that had to wait for a new
connection leaves later than it was started, and whoever paces it has to know. It may raise TooLate."""


class TooLate(Exception):
    """The slot of a request is over before it was written: it must not leave. Connections let it through."""


class AccountRefused(LongwaveError):
    """The provider does not accept these credentials, or cannot be reached; the message says which."""


class ProviderAway(AccountRefused):
    """The provider cannot be reached: nothing is known about the credentials."""


class TemplateError(LongwaveError):
    """A template failed for one recipient: a missing attribute, or too much work."""


class Message(Protocol):
    """Content compiled once, ready to be sent to anybody.

    is_personal: whether it renders from `Recipient.fields`.
    weight: how many sends one message counts as (an album's items).
    needs_upload: whether it holds local files that the provider does not have: `Connection.upload` sends it
    once, and what that returns goes into the next `compile` as `media`. Until then `send` must not be used.
    """

    is_personal: bool
    weight: int
    needs_upload: bool

    def render(self, recipient: Recipient) -> bytes:
        """The request for one recipient. Raises TemplateError."""
        ...


class Connection(Protocol):
    """An open way to the provider for one account, shared by everything in a process that sends as it.

    `send` and `upload` let CancelledError through: the request may have left. And TooLate: it has not.
    """

    async def send(self, message: Message, request: bytes) -> Outcome:
        """Send one rendered request. Never raises for what the provider or the network does."""
        ...

    async def upload(self, message: Message, recipient: Recipient) -> tuple[Outcome, Mapping[str, str]]:
        """Send to one recipient with the local files themselves; on Sent, also `{content field: file id}`.

        Raises TemplateError.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection. Closing twice is harmless."""
        ...


class Channel(Protocol):
    """One provider."""

    name: str
    default_rate: float
    presets: Mapping[str, float]

    def parse(self, data: Mapping[str, Any]) -> Any:
        """The content that `data` describes. Raises InvalidInput with every problem."""
        ...

    def to_json(self, content: Any) -> dict[str, Any]: ...

    def check(self, content: Any, *, paid: bool) -> list[Problem]:
        """What the provider would refuse about it, found before anything is sent."""
        ...

    def templates(self, content: Any) -> Mapping[str, str]:
        """`{content field: template source}`; empty when the content is the same for everybody."""
        ...

    def compile(self, content: Any, *, paid: bool, media: Mapping[str, str]) -> Message:
        """Content made ready to send. `media`: ids of local files the provider has. Raises TemplateError."""
        ...

    def preview(self, content: Any, recipient: Recipient, *, paid: bool) -> list[Problem]:
        """What is wrong with the message as this recipient would get it."""
        ...

    async def identify(self, account: Account) -> Identity:
        """Ask the provider who this is. Raises AccountRefused."""
        ...

    async def connect(self, account: Account) -> Connection: ...
