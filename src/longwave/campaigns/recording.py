"""What a lane has under lease, and how its outcomes get into the ledger: gathered, written in bulk, leases renewed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from time import monotonic
from typing import TypeVar

from longwave import database
from longwave.campaigns import leases, ledger
from longwave.campaigns.control import FAILURES, Control
from longwave.campaigns.models import Campaign
from longwave.campaigns.settling import Answered, Held, Settled
from longwave.jobs import job_context, measures

T = TypeVar("T")

LEASE = 10.0
"""Seconds that a batch stays ours without being renewed."""

LEASE_MARGIN = 1.0
"""Seconds before the lease's end at which a lane that could not renew it starts nothing any more."""

FLUSH = 0.1
"""Seconds between two writings of outcomes."""

OUTAGE = 120.0
"""Seconds for which outcomes are kept in memory while the database is away."""

_recording = ThreadPoolExecutor(1, "lane-record")


class Records:
    """The batches that one lane has leased, and the outcomes that it has not written down yet.

    `opened`, `lost` and `held` may be called in any thread, the rest on the event loop. `owner` is the lane's name on
    its leases.
    """

    def __init__(self, campaign_id: int, owner: str, *, channel: str, is_paid: bool) -> None:
        self._campaign_id = campaign_id
        self._channel = channel
        self._owner = owner
        self._is_paid = is_paid
        self._lock = Lock()
        self._left: Counter[int] = Counter()  # rows of each leased batch that have no outcome yet
        self._lease_ends = 0.0  # on the clock of job_context.now(), which counts suspended time
        self._held_seconds = 0.0
        self._is_writing = self._is_over = False
        self.settled: list[Settled] = []

    # --- leases -------------------------------------------------------------------------------------------------------

    def opened(self, batch_id: int, rows: int, *, asked: float) -> None:
        """A batch was leased, with so many rows to send. asked: when, by job_context.now()."""
        with self._lock:
            if not self._left:
                self._lease_ends = asked + LEASE - LEASE_MARGIN
            self._left[batch_id] += rows

    def lost(self, batch_id: int, rows: int) -> None:
        """So many rows of a batch are somebody else's now."""
        with self._lock:
            self._left[batch_id] -= rows

    def unsettled(self) -> int:
        """Rows under lease that the ledger has no outcome of yet."""
        with self._lock:
            return sum(self._left.values())

    def may_send(self) -> bool:
        """Whether every lease is surely still ours."""
        return not self._left or job_context.now() < self._lease_ends

    def held(self, seconds: float) -> None:
        """The provider made the sender wait, by so many seconds more than it waited already."""
        with self._lock:
            self._held_seconds += seconds

    # --- writing down -------------------------------------------------------------------------------------------------

    def is_written(self) -> bool:
        """Whether the ledger knows every outcome."""
        return not (self.settled or self._is_writing)

    async def keep(self) -> None:
        """Write outcomes down and renew leases, until `finish`."""
        renewed = monotonic()
        while not self._is_over:
            await asyncio.sleep(FLUSH)
            await self._flush()
            if monotonic() - renewed > LEASE / 5:
                renewed = monotonic()
                await self._renew()

    def end(self) -> None:
        """Let `keep` return."""
        self._is_over = True

    async def finish(self) -> None:
        """Write down the last outcomes and give every batch back."""
        await self._flush()
        for batch_id in list(self._left):
            await _in_recording_thread(partial(self._close, batch_id))

    async def _flush(self) -> None:
        settled, self.settled = self.settled, []
        if settled or self._held_seconds:
            self._is_writing = True
            await _in_recording_thread(partial(self._write, settled))
            self._is_writing = False

    def _write(self, settled: Sequence[Settled]) -> None:
        campaign_id = self._campaign_id
        with self._lock:
            held, self._held_seconds = self._held_seconds, 0.0
        counts = _lasting(lambda: ledger.record(campaign_id, settled, held))
        measures.tell(Answered(self._channel, counts))
        if held:
            measures.tell(Held(self._channel, held))
        if self._is_paid or any(item.label in FAILURES for item in settled):
            _lasting(lambda: Control.judge(campaign_id))
        for batch_id in self._ended(settled):
            self._close(batch_id)

    def _ended(self, settled: Sequence[Settled]) -> list[int]:
        """The batches that these were the last outcomes of."""
        with self._lock:
            for batch_id, count in Counter(item.batch_id for item in settled).items():
                self._left[batch_id] -= count
            ended = [batch_id for batch_id, left in self._left.items() if left <= 0]
            for batch_id in ended:
                del self._left[batch_id]
        return ended

    def _close(self, batch_id: int) -> None:
        def close() -> None:
            campaign = Campaign.objects.get(pk=self._campaign_id)
            leases.close_batch(campaign, batch_id, self._owner)

        _lasting(close)

    async def _renew(self) -> None:
        asked, batches = job_context.now(), list(self._left)
        if not batches:
            return
        renew = partial(leases.renew, batches, self._owner, LEASE)
        if await _in_recording_thread(partial(_lasting, renew)) == len(batches):
            self._lease_ends = asked + LEASE - LEASE_MARGIN


def _lasting(work: Callable[[], T]) -> T:
    return database.persist(work, give_up_after=OUTAGE)


def _in_recording_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(_recording, work)
