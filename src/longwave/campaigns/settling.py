"""From an outcome to what the ledger writes about the delivery. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from longwave.campaigns.models import DeliveryState
from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, SenderBroken, Sent, Throttled, Unknown

BACKOFF = (10.0, 60.0, 300.0)
"""Seconds before the second, third and fourth try of a delivery that met a passing fault."""


class Pending(msgspec.Struct, frozen=True):
    """A delivery that may be claimed. `attempt` counts the claims before this one; `fields` are for templates."""

    id: int
    batch_id: int
    contact_id: int
    address: str
    attempt: int
    tries: int
    fields: Mapping[str, Any] = {}


class Settled(msgspec.Struct, frozen=True):
    """One line for the ledger about a delivery that was claimed.

    attempt: the claim it belongs to. state: where the delivery goes; `pending` when it is to be tried again, after
    `delay` seconds (None is now). tried: 1 when a try was used up. label: under which outcome the error text is
    counted, None for not at all. address: the contact's new address, when it has moved.
    """

    delivery_id: int
    batch_id: int
    contact_id: int
    attempt: int
    state: DeliveryState
    tried: int = 0
    message_id: str | None = None
    error: str | None = None
    label: str | None = None
    delay: float | None = None
    address: str | None = None


def settle(row: Pending, outcome: Outcome, *, resend_unknown: bool = False) -> Settled:
    """What `outcome` makes of a delivery. Throttled and SenderBroken give it back untouched: no try is used up."""
    match outcome:
        case Sent(message_id):
            return _final(row, DeliveryState.SENT, message_id=message_id[:190])
        case Gone(reason):
            return _final(row, DeliveryState.GONE, error=_storable(reason), label="gone")
        case Rejected(reason):
            return _final(row, DeliveryState.REJECTED, error=_storable(reason), label="rejected")
        case Retry(reason, address):
            return _retry(row, _storable(reason), address)
        case Unknown(reason) if resend_unknown:
            return _retry(row, _storable(reason), None)
        case Unknown(reason):
            return _final(row, DeliveryState.UNKNOWN, error=_storable(reason), label="unknown")
        case Throttled() | SenderBroken():
            return release(row)


def release(row: Pending) -> Settled:
    """A claimed delivery whose request did not leave: pending again, as if it had not been claimed."""
    return _final(row, DeliveryState.PENDING)


def _retry(row: Pending, reason: str, address: str | None) -> Settled:
    if row.tries >= len(BACKOFF):
        return _final(row, DeliveryState.FAILED, tried=1, error=reason, label="failed", address=address)
    delay = None if address is not None else BACKOFF[row.tries]
    return _final(
        row, DeliveryState.PENDING, tried=1, error=reason, label="retried", delay=delay, address=address
    )


def _storable(reason: str) -> str:
    """Cut to its column, without NUL and halves of surrogate pairs: what a database refuses would cost every outcome
    that is written down with it."""
    return reason.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:255]


def _final(row: Pending, state: DeliveryState, **rest: Any) -> Settled:
    return Settled(row.id, row.batch_id, row.contact_id, row.attempt + 1, state, **rest)
