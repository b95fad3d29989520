"""A lane's turn when the database or the sender failed between two turns."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from django.db import connection, connections

from longwave.campaigns import control, lifecycle, preparing, turn
from longwave.campaigns.control import Control
from longwave.campaigns.lane import in_taking_thread
from longwave.campaigns.models import Campaign, CampaignState
from longwave.channels.memory import channel as memory
from longwave.contacts.models import Contact
from longwave.jobs import job_context
from longwave.jobs.job_context import JobContext
from longwave.senders import senders
from longwave.senders.models import Sender, SenderStatus

T = TypeVar("T")


def a_running_campaign(**sender: str) -> Campaign:
    made = Sender.objects.create(channel="memory", name="s", credentials="x", rate=None, **sender)
    return Campaign.objects.create(
        sender=made,
        content={"text": "hi"},
        name="c",
        state=CampaignState.RUNNING,
        generation=1,
        prepared=True,
    )


def take_a_turn(campaign: Campaign) -> object:
    context = JobContext(1, 1, 1, 0, "host:1:1:aa", None, lambda *_: True)
    token = job_context.enter(context)
    try:
        return asyncio.run(turn.take(campaign.pk, number=0, generation=1))
    finally:
        job_context.leave(token)


@pytest.fixture(autouse=True)
def _no_connection_of_an_earlier_test() -> Iterator[None]:
    yield
    in_taking(_forget_connection)


def _forget_connection() -> None:
    connections.close_all()
    if hasattr(connections._connections, "default"):
        del connections["default"]


def test_a_turn_after_the_sender_was_refused_elsewhere_pauses_the_campaign(sqlite: str) -> None:
    campaign = a_running_campaign(status=SenderStatus.BROKEN, status_reason="revoked")

    assert take_a_turn(campaign) is None

    paused = lifecycle.get(campaign.pk)
    assert paused.state == CampaignState.PAUSED
    assert "revoked" in paused.reason


def test_a_connection_that_was_lost_between_two_turns_is_opened_anew(database: str) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("has no connection that could be lost")
    campaign = a_running_campaign()

    backend = in_taking(_backend)
    with connection.cursor() as cursor:
        kill = "SELECT pg_terminate_backend(%s)" if connection.vendor == "postgresql" else "KILL %s"
        cursor.execute(kill, [backend])

    assert in_taking(lambda: Control.read(campaign.pk)).campaign == campaign


def in_taking(work: Callable[[], T]) -> T:
    return asyncio.run(in_taking_thread(work))


def _backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT CONNECTION_ID()"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("rate", [None, 200.0])
def test_a_budget_in_stars_is_spent_to_the_last_and_never_overdrawn(sqlite: str, rate: float | None) -> None:
    account = f"budget {rate}"
    sender = senders.add("memory", "s", account, rate=0)
    Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(200))
    campaign = Campaign.objects.create(sender=sender, content={"text": "hi"}, name="c", rate=rate)
    lifecycle.start(campaign.pk)
    assert preparing.freeze(campaign.pk, until=lambda: False)
    Campaign.objects.update(paid=True, stars_budget=5)

    assert take_a_turn(lifecycle.get(campaign.pk)) is None

    price = 0.1 if rate is None else 0.1 * (1 - 30 / rate)
    paused = lifecycle.get(campaign.pk)
    assert paused.reason.startswith("the budget of 5 Stars is spent; ")
    assert len(memory.outbox(account).messages) == int(5 / price)


def test_a_sender_that_was_mended_while_a_lane_drained_stays_mended(sqlite: str) -> None:
    campaign = a_running_campaign()
    control.stop_broken(campaign.sender_id, "an old reason")
    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING
    control.break_sender(campaign.sender, "revoked")
    assert lifecycle.get(campaign.pk).state == CampaignState.PAUSED
