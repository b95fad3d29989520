"""One message, sent by a job: its slot, its request, what became of it. A crash in between is never sent
again."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from django.db import Error as DatabaseError

from longwave import channels, database
from longwave.channels.base import LEAVING, Connection, Message, Recipient, TemplateError, TooLate
from longwave.core.errors import Conflict, LongwaveError, NotFound
from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, SenderBroken, Sent, Throttled, Unknown
from longwave.core.slots import (
    INTERACTIVE_HORIZON,
    MAX_LATE_US,
    SECOND,
    ClockOffset,
    Grant,
    debt,
    tolerance_us,
)
from longwave.jobs import Again, measures, runner
from longwave.pacing import ledger
from longwave.senders import senders
from longwave.senders.connections import connection_for
from longwave.senders.models import Sender, SenderStatus

log = structlog.get_logger("longwave.senders")

SENDING, WAITING = "sending", "waiting"

PATIENCE = 3.0
"""Seconds a job waits for its slot; for longer it gives its worker back."""

MOST_MISSED = 3
"""Slots that a job may miss before it is tried again later. Each of them is lost to the sender's other messages."""

LEAD = 0.02
"""Seconds from taking a slot until sending: the time to write down that the request is about to leave."""

WRITE_PATIENCE = 30.0
"""Seconds that a lost database is waited for, to write down that the message was not sent after all."""


class NotDelivered(Conflict):
    """The message was refused for good; trying again would not help."""


class OutcomeUnknown(NotDelivered):
    """It may have arrived."""


class PassingFault(LongwaveError):
    """The message was not delivered, probably for a passing reason: worth another try."""


@dataclass(frozen=True, slots=True)
class SingleSent:
    """One message was sent by itself, and this is the answer. For whoever counts them (`jobs.measures`)."""

    channel: str
    outcome: Outcome


class Progress(Protocol):
    """What the running job offers (`jobs.job_context.JobContext` is one)."""

    @property
    def saved(self) -> Any: ...
    def checkpoint(self, value: Any) -> None: ...
    def stopping(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A compiled message for one recipient, and the sender it goes out by."""

    sender: Sender
    message: Message
    recipient: Recipient
    request: bytes
    connection: Connection
    uploaded: dict[str, str] = field(default_factory=dict)


def send_one(
    sender_id: int,
    address: str,
    content: Mapping[str, Any],
    fields: Mapping[str, Any],
    progress: Progress,
    *,
    media: Mapping[str, str] | None = None,
) -> Again | dict[str, Any]:
    """Send, and return the provider's message id, or Again when it is not its turn yet.

    media: ids of local files that the provider has. Those of files that were uploaded now are in the answer's `media`.

    Raises NotDelivered or Conflict for good, PassingFault for another try.
    """
    if progress.saved == SENDING:
        raise OutcomeUnknown(
            "outcome unknown: the worker died while the message was being sent. "
            "It may have arrived, so it is not sent again."
        )
    parcel = _pack(_active(sender_id), content, Recipient(address, fields), media or {})
    sent = _in_turn(parcel, progress)
    if isinstance(sent, Retry) and sent.address is not None:
        # The chat has moved (a group became a supergroup): once more, to where it is now.
        parcel = _pack(parcel.sender, content, Recipient(sent.address, fields), media or {})
        sent = _in_turn(parcel, progress)
    return sent if isinstance(sent, Again) else _result(sent, parcel)


def _active(sender_id: int) -> Sender:
    sender = Sender.objects.filter(id=sender_id).first()
    if sender is None:
        raise NotFound(f"The sender with id {sender_id} has been removed.")
    if sender.status != SenderStatus.ACTIVE:
        raise Conflict(senders.why_broken(sender))
    return sender


def _pack(
    sender: Sender, content: Mapping[str, Any], recipient: Recipient, media: Mapping[str, str]
) -> _Parcel:
    channel = channels.get(sender.channel)
    message = channel.compile(channel.parse(content), paid=False, media=media)
    try:
        request = message.render(recipient)
    except TemplateError as error:
        raise NotDelivered(str(error)) from None
    connection = runner.run(connection_for(sender.channel, senders.account(sender)))
    return _Parcel(sender, message, recipient, request, connection)


def _in_turn(parcel: _Parcel, progress: Progress) -> Outcome | Again:
    """Wait for a slot and send in it; in another one, when this one has been missed."""
    clock, deadline, missed = ClockOffset(), time.monotonic() + PATIENCE, 0
    while True:
        grant = _reserve(parcel, clock)
        if grant.count:
            progress.checkpoint(SENDING)
            outcome = runner.run(_at_slot(parcel, grant, clock))
            if outcome is not None:
                return _after(outcome, parcel, progress)
            _not_sent(progress)
            missed += 1
            if missed == MOST_MISSED:
                return Retry(
                    f"{missed} slots were missed: no connection opened in time, or the machine is too busy"
                )
        pause = max(0, grant.wait_until_us - grant.now_us) / SECOND if not grant.count else 0.0
        if time.monotonic() + pause > deadline or progress.stopping():
            return Again(after=pause, why=grant.held_reason or _rates(parcel))
        time.sleep(pause)


def _rates(parcel: _Parcel) -> str:
    """The rates that it has to wait for, one of them at least."""
    chat = senders.limits(parcel.sender, "interactive", chat=parcel.recipient.address)[1:]
    own = f"{parcel.sender.rate:g} a second" if parcel.sender.rate else "without a limit"
    to_it = "".join(f", {_often(limit.per_second)} to this chat" for limit in chat if limit.per_second)
    return f"the rate of {parcel.sender.name} is used up until then ({own}{to_it})"


def _often(per_second: float) -> str:
    return f"{per_second:g} a second" if per_second >= 1 else f"{per_second * 60:g} a minute"


def _reserve(parcel: _Parcel, clock: ClockOffset) -> Grant:
    return ledger.reserve(
        senders.limits(parcel.sender, "interactive", chat=parcel.recipient.address),
        1,
        horizon=INTERACTIVE_HORIZON,
        weight=parcel.message.weight,
        burst_guard=parcel.sender.burst_guard,
        lead=LEAD,
        clock=clock,
    )


async def _at_slot(parcel: _Parcel, grant: Grant, clock: ClockOffset) -> Outcome | None:
    """Send at the slot; None when that is over."""
    slot = clock.to_monotonic(grant.start_us)
    await asyncio.sleep(max(0.0, slot - time.monotonic()))
    if (time.monotonic() - slot) * SECOND > MAX_LATE_US:
        return None
    loop = asyncio.get_running_loop()
    tolerance = tolerance_us(parcel.sender.burst_guard, clock.uncertainty_us)
    paying: list[asyncio.Future[None]] = []

    def leaving() -> None:
        late = round((time.monotonic() - slot) * SECOND)
        if parcel.sender.rate and late > MAX_LATE_US:
            raise TooLate
        owed = debt(late, tolerance) if parcel.sender.rate else 0
        if owed:  # at once, not after the answer: the slots a second later must not be given away before
            paying.append(loop.run_in_executor(None, _pay, parcel.sender, grant, owed))

    LEAVING.set(leaving)
    try:
        return await _send(parcel)
    except TooLate:
        # No connection opened in time. Whatever waited for it, in all processes, would leave in one moment.
        return None
    finally:
        await asyncio.gather(*paying)


async def _send(parcel: _Parcel) -> Outcome:
    if parcel.message.needs_upload:
        outcome, media = await parcel.connection.upload(parcel.message, parcel.recipient)
        parcel.uploaded.update(media)
        return outcome
    return await parcel.connection.send(parcel.message, parcel.request)


def _pay(sender: Sender, grant: Grant, owed: int) -> None:
    _try(lambda: ledger.push(senders.limit_key(sender.id), owed, slot_us=grant.start_us))


def _after(outcome: Outcome, parcel: _Parcel, progress: Progress) -> Outcome | Again:
    """Write down what the outcome means for the sender and for a next try."""
    measures.tell(SingleSent(parcel.sender.channel, outcome))
    match outcome:
        case Throttled(retry_after=seconds):
            _not_sent(progress)
            reason = f"{parcel.sender.channel} asked to wait {seconds:g} s"
            _try(lambda: ledger.hold(senders.limit_key(parcel.sender.id), seconds, reason))
            return Again(after=seconds, why=reason)
        case Retry():
            _not_sent(progress)
        case SenderBroken(reason=reason):
            _try(lambda: senders.mark_broken(parcel.sender.id, reason))
    return outcome


def _result(outcome: Outcome, parcel: _Parcel) -> dict[str, Any]:
    match outcome:
        case Sent(message_id=message_id):
            sent = {"message_id": message_id, "address": parcel.recipient.address}
            return sent | ({"media": parcel.uploaded} if parcel.uploaded else {})
        case Retry(reason=reason):
            raise PassingFault(reason)
        case Unknown(reason=reason):
            raise OutcomeUnknown(f"outcome unknown: {reason}. It may have arrived, so it is not sent again.")
        case SenderBroken(reason=reason):
            raise NotDelivered(f"the sender {parcel.sender.name!r} is broken: {reason}")
        case Gone(reason=reason) | Rejected(reason=reason):
            raise NotDelivered(reason)
        case Throttled():
            raise PassingFault("asked to wait")  # not reached: `_after` made it Again


def _not_sent(progress: Progress) -> None:
    database.persist(lambda: progress.checkpoint(WAITING), give_up_after=WRITE_PATIENCE)


def _try(write: Callable[[], object]) -> None:
    """A message that has been sent stays sent, also when the database is away for what follows from it."""
    try:
        write()
    except DatabaseError as error:
        log.warning("pacing_not_written", error=str(error))
