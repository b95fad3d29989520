"""A lane's threads and its event loop work on the same rows: none may be lost between them."""

import asyncio
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest
from django.db import OperationalError, connections

from longwave.campaigns import lane as lanes
from longwave.campaigns import ledger, lifecycle, preparing, recording
from longwave.campaigns.control import Halt
from longwave.campaigns.lane import Lane, Work
from longwave.campaigns.models import Campaign, Delivery
from longwave.campaigns.settling import Pending
from longwave.campaigns.turn import compile_message
from longwave.channels.base import LEAVING, Connection, Message
from longwave.channels.memory import channel
from longwave.contacts.models import Contact
from longwave.core.outcomes import Outcome
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("sqlite", "_own_connections")


@pytest.fixture
def _own_connections() -> Iterator[None]:
    yield
    for thread in (lanes._taking, recording._recording):
        thread.submit(_forget_connection).result()


def _forget_connection() -> None:
    connections.close_all()
    if hasattr(connections._connections, "default"):
        del connections["default"]


def a_campaign(contacts: int) -> Campaign:
    sender = Sender.objects.create(channel="memory", name="s", credentials="x", rate=None)
    Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(1, contacts + 1))
    campaign = Campaign.objects.create(sender=sender, content={"text": "hi"}, name="c")
    lifecycle.start(campaign.pk)
    assert preparing.freeze(campaign.pk, until=lambda: False)
    return lifecycle.get(campaign.pk)


async def a_lane(campaign: Campaign, *, turn: float = 5.0, connection: Connection | None = None) -> Lane:
    work = Work(
        campaign_id=campaign.pk,
        generation=campaign.generation,
        number=0,
        owner="me",
        compile=compile_message,
        connection=connection or channel.MemoryConnection(channel.outbox("lane")),
        resend_unknown=False,
        is_paid=False,
        is_stopping=lambda: False,
    )
    return Lane(work, campaign, turn=turn)


def test_rows_claimed_while_the_queue_is_given_back_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = a_campaign(1)
    total = 50_000
    rows = [Pending(n, 1, n, str(n), 0, 0) for n in range(total)]

    async def scenario() -> list[int]:
        lane = await a_lane(campaign)
        claiming = threading.Thread(target=lambda: [lane._queue.append((0.0, row)) for row in rows])
        claiming.start()
        while claiming.is_alive() or lane._queue:
            lane._release_queue()
        return [item.delivery_id for item in lane._records.settled]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        released = asyncio.run(scenario())
    finally:
        sys.setswitchinterval(before)

    assert released == list(range(total))


def test_a_claim_whose_answer_was_lost_leaves_nobody_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = a_campaign(5)
    claim = ledger.claim

    def committed_unheard(batch_id: int, owner: str, rows: Sequence[Pending]) -> bool:
        assert claim(batch_id, owner, rows)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(ledger, "claim", committed_unheard)

    async def scenario() -> Halt:
        return await (await a_lane(campaign)).run()

    with pytest.raises(OperationalError):
        asyncio.run(scenario())

    assert set(Delivery.objects.values_list("state", flat=True)) == {"pending"}


def test_while_no_connection_opens_few_requests_wait_to_leave_together() -> None:
    campaign = a_campaign(200)
    Sender.objects.update(rate=100)
    waiting: list[bytes] = []

    async def scenario() -> None:
        opens = asyncio.Event()

        class Unreachable(channel.MemoryConnection):
            async def send(self, message: Message, request: bytes) -> Outcome:
                waiting.append(request)
                await opens.wait()
                return await super().send(message, request)

        lane = await a_lane(campaign, turn=0.6, connection=Unreachable(channel.outbox("late")))
        lane._proven = True
        turn = asyncio.create_task(lane.run())
        await asyncio.wait({turn}, timeout=0.9)
        opens.set()
        await turn

    asyncio.run(scenario())

    assert 1 <= len(waiting) <= 12


def test_a_send_whose_connection_opened_too_late_takes_a_new_slot() -> None:
    campaign = a_campaign(3)
    Sender.objects.update(rate=50)
    box = channel.outbox("late")

    class SlowToOpen(channel.MemoryConnection):
        opened = 0

        async def send(self, message: Message, request: bytes) -> Outcome:
            self.opened += 1
            if self.opened == 1:
                await asyncio.sleep(0.4)
            leave = LEAVING.get()
            assert leave is not None
            leave()
            return await super().send(message, request)

    connection = SlowToOpen(box)

    async def scenario() -> None:
        lane = await a_lane(campaign, connection=connection)
        lane._proven = True
        await lane.run()

    asyncio.run(scenario())
    assert sorted(Delivery.objects.values_list("state", "attempt")) == [
        ("pending", 1),
        ("sent", 1),
        ("sent", 1),
    ]
    assert len(box.messages) == 2
    asyncio.run(scenario())
    assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}
