"""From an outcome to what the ledger writes about the delivery. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from longwave.campaigns.models import Charted, DeliveryState
from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, SenderBroken, Sent, Throttled, Unknown
from longwave.core.text import storable

BACKOFF = (10.0, 60.0, 300.0)
"""Seconds before the second, third and fourth try of a delivery that met a passing fault."""


ATTEMPTS = 2**15
"""Claims of a delivery are counted modulo this, in a small column. A chat that is asked to wait for and tried once a
second meets it after nine hours; the count only has to tell one claim from the others of the last minutes."""


class Answered(msgspec.Struct, frozen=True):
    """So many answers of a provider were written down, by `Charted`. For whoever counts them (`jobs.measures`)."""

    channel: str
    counts: Mapping[str, int]


class Held(msgspec.Struct, frozen=True):
    """A provider made a sender wait for so many seconds more."""

    channel: str
    seconds: float


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
    `delay` seconds (None is now). tried: 1 when a try was used up. label: as what the answer and its error text are
    counted, None for not at all: it never left. address: the contact's new address, when it has moved.
    """

    delivery_id: int
    batch_id: int
    contact_id: int
    attempt: int
    state: DeliveryState
    tried: int = 0
    message_id: str | None = None
    error: str | None = None
    label: Charted | None = None
    delay: float | None = None
    address: str | None = None


STOPPED = Unknown("the worker was stopped before the answer came")
"""What a stopping worker makes of a request that it cannot wait for: our doing, not the provider's."""


def settle(row: Pending, outcome: Outcome, *, resend_unknown: bool = False) -> Settled:
    """What `outcome` makes of a delivery. Throttled and SenderBroken give it back untouched: no try is used up."""
    match outcome:
        case Sent(message_id):
            return _final(row, DeliveryState.SENT, Charted.SENT, message_id=storable(message_id)[:190])
        case Gone(reason):
            return _final(row, DeliveryState.GONE, Charted.GONE, error=_storable(reason))
        case Rejected(reason):
            return _final(row, DeliveryState.REJECTED, Charted.REJECTED, error=_storable(reason))
        case Retry(reason, address):
            label = Charted.RETRIED if address is None else Charted.MOVED
            return _retry(row, label, _storable(reason), address)
        case Unknown(reason):
            label = Charted.ORPHANED if outcome == STOPPED else Charted.UNKNOWN
            if resend_unknown:
                return _retry(row, label, _storable(reason), None)
            return _final(row, DeliveryState.UNKNOWN, label, error=_storable(reason))
        case Throttled():
            return _final(row, DeliveryState.PENDING, Charted.THROTTLED)
        case SenderBroken():
            return release(row)


def release(row: Pending) -> Settled:
    """A claimed delivery whose request did not leave: pending again, as if it had not been claimed."""
    return _final(row, DeliveryState.PENDING, None)


def _retry(row: Pending, label: Charted, reason: str, address: str | None) -> Settled:
    if row.tries >= len(BACKOFF):
        state = DeliveryState.FAILED
        return _final(row, state, Charted.FAILED, tried=1, error=reason, address=address)
    delay = None if address is not None else BACKOFF[row.tries]
    return _final(row, DeliveryState.PENDING, label, tried=1, error=reason, delay=delay, address=address)


def _storable(reason: str) -> str:
    """Cut to its column, without what a database refuses: it would cost every outcome that is written down with it."""
    return storable(reason)[:255]


def _final(row: Pending, state: DeliveryState, label: Charted | None, **rest: Any) -> Settled:
    attempt = (row.attempt + 1) % ATTEMPTS
    return Settled(row.id, row.batch_id, row.contact_id, attempt, state, label=label, **rest)
