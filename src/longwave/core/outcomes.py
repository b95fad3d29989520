"""What became of one send, in our words. A channel maps its provider's words onto these, and raises nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted the message and gave it this id (several ids, joined by commas, for an album)."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """Refused because of a limit: nothing may leave for `retry_after` seconds. Costs no attempt."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class Retry:
    """Not delivered, probably a passing fault. `address` is the contact's new address, when it has moved."""

    reason: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """This contact cannot be reached any more: it is deactivated. Not a failure of the campaign."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider refused this message for its content, or for a reason it will not change its mind about."""

    reason: str


@dataclass(frozen=True, slots=True)
class SenderBroken:
    """The sender itself is refused (revoked token, closed account): nothing it sends can succeed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request was written and no answer came: the message may or may not have been delivered."""

    reason: str


Outcome = Sent | Throttled | Retry | Gone | Rejected | SenderBroken | Unknown
