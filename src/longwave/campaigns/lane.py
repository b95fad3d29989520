"""A worker's turn at sending a campaign's batches.

Three loops share one event loop: `_fill` reserves slots and claims deliveries for them, half a second ahead at most;
`_pace` starts each send at its slot; `Records.keep` writes outcomes down in bulk and keeps the leases. Every talk with
the database happens in a thread, so that a slow answer never delays a send.

What a kill -9 leaves behind: claimed rows stay `sending` until the batch's lease runs out, then the next lane names
them unknown. That is at most half a second of slots, what was in flight, and a tenth of a second of unwritten outcomes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

import structlog
from django.db import DatabaseError

from longwave import database
from longwave.campaigns import leases, ledger
from longwave.campaigns.control import Control, Halt, break_sender
from longwave.campaigns.models import Campaign
from longwave.campaigns.recording import FLUSH, LEASE, OUTAGE, Records
from longwave.campaigns.settling import STOPPED, Pending, release, settle
from longwave.channels.base import LEAVING, Connection, Message, Recipient, TemplateError, TooLate
from longwave.core import slots
from longwave.core.outcomes import Outcome, Rejected, SenderBroken, Sent, Throttled, Unknown
from longwave.jobs import job_context
from longwave.pacing import ledger as pacing

log = structlog.get_logger("longwave.campaigns")
T = TypeVar("T")

TURN = 30.0
"""Seconds after which a lane hands itself on, so that campaigns share the workers."""

BLOCK = 250
"""Deliveries claimed at a time when no rate limits them."""

QUANTUM = 0.25
"""Seconds' worth of slots claimed at a time at a rate."""

LEAD = 0.03
"""Seconds between a reservation and its first slot: what claiming the rows takes."""

IN_FLIGHT = 400
"""Requests of one lane that may wait for their answer at the same time, at a rate: with 400, a provider that takes a
second to answer still gets 400/s."""

IN_FLIGHT_UNPACED = 48
"""The same without a rate. More of them would leave no sooner, they would wait here: with four lanes, 1,600 requests in
flight cost half as much processor time again as 200 do, and 200 are enough for 4,000/s from 50 ms away."""

LEAVING_SHARE = 0.125
"""Seconds' worth of slots whose requests may still wait for a connection. When none can be opened for a while, all that
wait leave in the moment it is possible again: with four lanes, half of what a second may hold."""

UNPROVEN = 5
"""Requests in flight until the first one succeeded: bad content costs five errors, not five hundred."""

EARLY_US = 500
"""A timer has whole milliseconds: a send half of one before its slot is on time."""

DEBT_DELAY = 0.02
"""Seconds over which late sends are gathered before the schedule is moved for them, once."""

TICK = 0.2
"""Seconds after which any wait looks around again: for a pause, a stop, a new rate."""

HAND_OVER = 1.2
"""Seconds that a stopping worker waits for answers before it calls them unknown."""

_taking = ThreadPoolExecutor(1, "lane-take")


async def in_taking_thread(work: Callable[[], T]) -> T:
    """Ask the database from a coroutine: on the connection that lanes take their work with.

    That connection outlives a turn. Where an earlier one lost it, it must be opened anew, or no turn would ever succeed
    again: so `work` must be safe to repeat.
    """
    lasting = partial(database.persist, work, give_up_after=OUTAGE)
    return await asyncio.get_running_loop().run_in_executor(_taking, lasting)


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane works with during one turn."""

    campaign_id: int
    generation: int
    number: int
    owner: str
    compile: Callable[[Campaign], Message]
    connection: Connection
    resend_unknown: bool
    is_paid: bool
    is_stopping: Callable[[], bool]


class Lane:
    """One turn. `run` returns whether there is more to do."""

    def __init__(self, work: Work, campaign: Campaign, *, turn: float = TURN) -> None:
        self._work = work
        self._sender = campaign.sender
        self._message = work.compile(campaign)
        self._loop = asyncio.get_running_loop()
        # Lanes that started together do not all hand over at the same moment.
        self._ends = monotonic() + turn * (1 - 0.1 * work.number)
        self._queue: deque[tuple[float, Pending]] = deque()
        self._rows: deque[Pending] = deque()
        channel = campaign.sender.channel
        self._records = Records(work.campaign_id, work.owner, channel=channel, is_paid=work.is_paid)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._proven = False
        self._paced = False
        self._halt: Halt | None = None
        self._held_until = 0.0
        self._offset = slots.ClockOffset()
        self._hold_key = self._pace_key = ""
        self._tolerance_us = 0
        self._late: tuple[int, int] | None = None
        self._leaving: set[int] = set()
        self._most_leaving = 1
        self._exhausted = False
        self._looked = 0.0
        self._control: Control | None = None
        self._affordable: int | None = None  # rows that may be claimed before the next look

    async def run(self) -> Halt:
        """Send until the turn is over, there is nothing left, or something stops it. Leaves nothing `sending`."""
        fill = self._loop.create_task(self._fill())
        pace = self._loop.create_task(self._pace())
        keep = self._loop.create_task(self._records.keep())
        try:
            await asyncio.wait({fill, pace, keep}, return_when=asyncio.FIRST_COMPLETED)
            while fill.done() and self._queue and self._halt is None and not (pace.done() or keep.done()):
                await asyncio.sleep(FLUSH / 4)
        finally:
            # Whatever is half done in a thread must be waited for, never cancelled: a claim, or outcomes on their way.
            self._halt = self._halt or Halt("idle" if self._exhausted else "turn")
            await asyncio.wait({fill})
            pace.cancel()
            self._release_queue()
            await self._drain()
            self._records.end()
            ended = await asyncio.gather(fill, pace, keep, return_exceptions=True)
            await self._records.finish()
        for error in ended:
            if isinstance(error, Exception):
                raise error
        return self._halt

    # --- reserving and claiming ---------------------------------------------------------------------------------------

    async def _fill(self) -> None:
        while monotonic() < self._ends and self._halt is None:
            if self._work.is_stopping():
                self._halt = Halt("stopping")
            elif not self._records.may_send():
                self._halt = Halt("lost")
            elif self._wants_more():
                wait = await self._in_thread(self._take)
                if self._exhausted:
                    return
                if wait > 0:
                    await asyncio.sleep(min(wait, TICK))
            elif monotonic() - self._looked > TICK:
                await self._in_thread(self._look)
            else:
                await asyncio.sleep(self._until_needed())

    def _wants_more(self) -> bool:
        if self._is_trying():
            # Judged before the next ones leave: bad content must not get a second handful.
            return not (self._queue or self._in_flight) and self._records.is_written()
        if self._paced and self._is_full():
            return False
        if self._paced and self._queue:
            return self._queue[-1][0] - monotonic() < slots.BULK_HORIZON - QUANTUM
        return len(self._queue) < BLOCK

    def _until_needed(self) -> float:
        """Seconds until more may be wanted: known at a rate, a short while without one."""
        if self._paced and self._queue and not self._is_trying():
            ahead = self._queue[-1][0] - monotonic() - (slots.BULK_HORIZON - QUANTUM)
            return min(max(ahead, 0.003), TICK)
        return 0.003

    def _look(self) -> Control:
        """Read what people and breakers have decided meanwhile."""
        # Counted first: what is written down during the look counts twice, so that a budget is never overdrawn.
        under_way = self._records.unsettled() - len(self._rows)
        control = database.persist(lambda: Control.read(self._work.campaign_id), give_up_after=OUTAGE)
        self._looked, self._control = monotonic(), control
        self._affordable = None if control.affordable is None else max(0, control.affordable - under_way)
        self._halt = self._halt or control.halts(self._work.generation)
        self._proven = self._proven or control.proven
        if self._message.needs_upload and control.campaign.media:
            self._message = self._work.compile(control.campaign)
        return control

    def _take(self) -> float:
        """Reserve slots and claim rows for them; seconds to wait before asking again. Runs in the taking thread."""
        control = self._control
        if control is None or self._is_trying() or monotonic() - self._looked > TICK / 2:
            control = self._look()
        if self._halt is not None:
            return 0.0
        if self._is_trying() and self._work.number > 0:
            return TICK  # one lane tries the content out
        if not self._rows and not self._lasting(lambda: self._lease_next(control)):
            self._exhausted = True
            return 0.0
        return self._claim(control)

    def _lease_next(self, control: Control) -> bool:
        asked = job_context.now()
        batch = leases.lease_batch(control.campaign, self._work.owner, LEASE)
        if batch is None:
            return False
        rows = ledger.load(batch.pk, personal=self._message.is_personal)
        if not rows:
            leases.close_batch(control.campaign, batch.pk, self._work.owner)
            return True
        self._records.opened(batch.pk, len(rows), asked=asked)
        self._rows.extend(rows)
        return True

    def _claim(self, control: Control) -> float:
        if not self._rows:
            return 0.0
        limits = control.limits
        pace = next((limit for limit in limits if limit.per_second), None)
        self._hold_key, self._pace_key = limits[0].key, pace.key if pace else ""
        self._paced = pace is not None
        self._most_leaving = max(1, int((pace.per_second or 0) * LEAVING_SHARE)) if pace else BLOCK
        wanted = min(self._quantum(control), len(self._rows))
        if self._affordable is not None:
            wanted = min(wanted, self._affordable)
            if not wanted:
                return TICK
        grant = self._lasting(
            lambda: pacing.reserve(
                limits,
                wanted,
                horizon=slots.BULK_HORIZON,
                lead=LEAD,
                weight=self._message.weight,
                burst_guard=control.burst_guard,
                clock=self._offset,
            )
        )
        if not grant.count:
            return self._offset.to_monotonic(grant.wait_until_us) - monotonic()
        self._tolerance_us = slots.tolerance_us(control.burst_guard, self._offset.uncertainty_us + EARLY_US)
        rows = [self._rows[i] for i in range(grant.count)]
        if not self._mark_sending(rows):
            self._lose_batch(rows[0].batch_id)
            return 0.0
        if self._affordable is not None:
            self._affordable -= len(rows)
        start, gap = self._offset.to_monotonic(grant.start_us), grant.spacing_us / 1e6
        for index, row in enumerate(rows):
            self._rows.popleft()
            self._queue.append((start + index * gap if self._paced else 0.0, row))
        self._loop.call_soon_threadsafe(self._room.set)
        return 0.0

    def _mark_sending(self, rows: list[Pending]) -> bool:
        batch_id, owner = rows[0].batch_id, self._work.owner
        try:
            return database.persist(
                lambda: ledger.claim(batch_id, owner, rows),
                give_up_after=OUTAGE,
                when=database.was_rolled_back,
            )
        except DatabaseError:
            # Its answer is lost, perhaps not the claim: nothing was sent, so nobody needs to become unknown.
            database.persist(lambda: ledger.unclaim(batch_id, owner, rows), give_up_after=OUTAGE)
            raise

    def _lasting(self, work: Callable[[], T]) -> T:
        return database.persist(work, give_up_after=OUTAGE)

    def _quantum(self, control: Control) -> int:
        if self._is_trying():
            return self._most_at_once()
        rates = [limit.per_second for limit in control.limits if limit.per_second]
        return min(BLOCK, max(1, int(min(rates) * QUANTUM))) if rates else BLOCK

    def _lose_batch(self, batch_id: int) -> None:
        """Somebody else has the batch: what was claimed of it stays on record, the rest is theirs."""
        log.warning("lane_lost_batch", campaign=self._work.campaign_id, batch=batch_id)
        self._records.lost(batch_id, len(self._rows))
        self._rows.clear()

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _pace(self) -> None:
        while True:
            if not self._queue:
                await self._await_room()
                continue
            at, row = self._queue[0]
            now = monotonic()
            if self._halt is not None or now < self._held_until or not self._records.may_send():
                self._release_queue()
            elif at and (now - at) * 1e6 > slots.MAX_LATE_US:
                self._queue.popleft()
                self._records.settled.append(release(row))
            elif self._is_full():
                await self._await_room()
            elif at - now > EARLY_US / 1e6:
                await asyncio.sleep(min(at - now, TICK))
            else:
                self._queue.popleft()
                self._launch(row, at)

    async def _await_room(self) -> None:
        self._room.clear()
        # At a rate, slots pass meanwhile: whoever waits for one too long is given back.
        alarm = self._loop.call_later(TICK, self._room.set) if self._paced else None
        await self._room.wait()
        if alarm is not None:
            alarm.cancel()

    def _is_full(self) -> bool:
        return len(self._in_flight) >= self._most_at_once() or len(self._leaving) >= self._most_leaving

    def _is_trying(self) -> bool:
        """Until something was delivered, and local files were uploaded with it, the lane feels its way."""
        return not self._proven or self._message.needs_upload

    def _most_at_once(self) -> int:
        if self._message.needs_upload:
            return 1
        if not self._proven:
            return UNPROVEN
        return IN_FLIGHT if self._paced else IN_FLIGHT_UNPACED

    def _note_lateness(self, row: Pending, slot: float) -> None:
        """A request of this slot leaves now: how much later the schedule must go on because of it.

        Raises TooLate when it must not leave any more: the second that it would be part of is full.
        """
        self._leaving.discard(row.id)
        self._room.set()
        late_us = round((monotonic() - slot) * 1e6)
        if late_us > slots.MAX_LATE_US:
            raise TooLate
        owed = slots.debt(late_us, self._tolerance_us)
        if owed:
            if self._late is None:
                self._loop.call_later(DEBT_DELAY, self._pay_debt)
            # The highest debt, at the last late slot: what is owed counts for the second after it.
            self._late = (max(owed, self._late[0] if self._late else 0), self._offset.to_database(slot))

    def _pay_debt(self) -> None:
        if self._late is not None:
            (owed, slot_us), self._late = self._late, None
            self._in_background(lambda: pacing.push(self._pace_key, owed, slot_us=slot_us))

    def _launch(self, row: Pending, slot: float) -> None:
        if slot:
            self._leaving.add(row.id)
        task = self._loop.create_task(self._send(row, slot))
        self._in_flight.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        self._room.set()

    async def _send(self, row: Pending, slot: float) -> None:
        if slot:
            LEAVING.set(partial(self._note_lateness, row, slot))
        message, recipient = self._message, Recipient(row.address, row.fields)
        try:
            if message.needs_upload:
                outcome = await self._upload(message, recipient)
            else:
                outcome = await self._work.connection.send(message, message.render(recipient))
        except TooLate:
            self._records.settled.append(release(row))
            return
        except TemplateError as error:
            outcome = Rejected(str(error))
        except asyncio.CancelledError:
            outcome = STOPPED
        except Exception as error:
            log.exception("send_failed", campaign=self._work.campaign_id, delivery=row.id)
            outcome = Unknown(f"unexpected: {type(error).__name__}")
        self._leaving.discard(row.id)
        self._settle(row, outcome)

    async def _upload(self, message: Message, recipient: Recipient) -> Outcome:
        """Local files travel once, with the first delivery; the others use the ids they got."""
        outcome, media = await self._work.connection.upload(message, recipient)
        if isinstance(outcome, Sent):
            await self._in_thread(lambda: self._keep_media(dict(media)))
        return outcome

    def _keep_media(self, media: dict[str, str]) -> None:
        database.persist(lambda: ledger.keep_media(self._work.campaign_id, media), give_up_after=OUTAGE)
        self._look()

    def _settle(self, row: Pending, outcome: Outcome) -> None:
        match outcome:
            case Sent():
                self._proven = True
            case Throttled(retry_after):
                until = monotonic() + retry_after
                if until > self._held_until + FLUSH:  # of the many answers to one flood, the first
                    self._held_until = until
                    self._in_background(lambda: self._hold(retry_after))
            case SenderBroken(reason):
                if self._halt is None:
                    self._halt = Halt("broken", reason)
                    # Now, not when the other answers are in: everything that sends through it has to stop.
                    self._in_background(lambda: break_sender(self._sender, reason))
        self._records.settled.append(settle(row, outcome, resend_unknown=self._work.resend_unknown))

    def _hold(self, seconds: float) -> None:
        self._records.held(pacing.hold(self._hold_key, seconds, "the provider asked to wait"))

    def _release_queue(self) -> None:
        while self._queue:  # one by one: the taking thread may be adding to it
            _, row = self._queue.popleft()
            self._records.settled.append(release(row))

    async def _drain(self) -> None:
        """Wait for the answers in flight: for all of them at a turn's end, shortly when the worker stops."""
        told_to_stop = None
        while self._in_flight:
            await asyncio.wait(self._in_flight, timeout=TICK)
            if self._work.is_stopping():
                told_to_stop = told_to_stop or monotonic()
                if monotonic() > told_to_stop + HAND_OVER:
                    for task in self._in_flight:
                        task.cancel()

    # --- asking the database ------------------------------------------------------------------------------------------

    def _in_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return self._loop.run_in_executor(_taking, work)

    def _in_background(self, work: Callable[[], object]) -> None:
        """Do it in the taking thread; an error is logged, and stops nothing."""

        def attempt() -> None:
            try:
                database.persist(work, give_up_after=OUTAGE)
            except Exception:
                log.exception("lane_background_failed", campaign=self._work.campaign_id)

        self._in_thread(attempt)
