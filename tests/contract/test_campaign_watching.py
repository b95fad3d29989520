"""Campaigns that stand still or are slow are told, with what keeps them."""

import re
import time
from datetime import timedelta

import pytest
import structlog.testing
from django.utils import timezone

from longwave.campaigns import lifecycle, preparing, tending, watching
from longwave.campaigns.models import Batch, Bucket, Campaign, CampaignState
from longwave.contacts.models import Contact
from longwave.jobs import explaining, pausing, presence
from longwave.jobs.models import Job, Status
from longwave.pacing import ledger as pacing
from longwave.senders import senders
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("database")

HEARD = {"broadcast": ["w@host"], "campaigns": ["w@host"]}


@pytest.fixture(autouse=True)
def _workers(monkeypatch: pytest.MonkeyPatch) -> None:
    answer: explaining.Listeners = HEARD
    monkeypatch.setattr(presence, "listeners", lambda: answer)


def a_campaign(*, minutes: float = 6, rate: float | None = None, contacts: int = 1000) -> Campaign:
    """Running for so long."""
    sender = senders.add("memory", f"shop {Sender.objects.count()}", f"secret {Sender.objects.count()}")
    Sender.objects.filter(pk=sender.pk).update(rate=rate)
    if not Contact.objects.exists():
        Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(1, contacts + 1))
    campaign = Campaign.objects.create(sender=sender, content={"text": "hi"}, name="Spring", batch_size=200)
    lifecycle.start(campaign.pk)
    assert preparing.freeze(campaign.pk, until=lambda: False)
    tending.tend()
    return aged(campaign, minutes)


def aged(campaign: Campaign, minutes: float) -> Campaign:
    Campaign.objects.filter(pk=campaign.pk).update(state_at=timezone.now() - timedelta(minutes=minutes))
    return lifecycle.get(campaign.pk)


def answered(campaign: Campaign, count: int) -> None:
    """So many answers in the last minutes."""
    Bucket.objects.create(campaign=campaign, at=int(time.time() - 100) // 10, outcome="sent", count=count)


def reasons() -> str:
    return " ".join(reason for trouble in watching.monitor() for reason in trouble.reasons)


def test_one_that_gets_on_or_has_just_begun_is_not_told() -> None:
    answered(a_campaign(rate=10), 2000)
    answered(a_campaign(), 1)  # unlimited, and it moves
    a_campaign(minutes=0.5)
    assert watching.monitor() == []


def test_one_without_any_answer_is_stalled_and_one_below_half_its_rate_is_slow() -> None:
    still, slow = a_campaign(rate=10), a_campaign(rate=10)
    answered(slow, 1200)
    with structlog.testing.capture_logs() as logs:
        watching.monitor()
    told = {line["campaign"]: line for line in logs}
    assert (told[still.pk]["event"], told[still.pk]["log_level"]) == ("campaign_stalled", "warning")
    assert (told[slow.pk]["event"], told[slow.pk]["rate"], told[slow.pk]["expected"]) == (
        "campaign_slow", 4.0, 10.0,
    )  # fmt: skip


def test_the_last_few_of_a_campaign_are_not_slow() -> None:
    campaign = a_campaign(rate=10, contacts=500)
    answered(campaign, 1)
    assert watching.monitor() == []


def test_a_held_sender_is_a_reason() -> None:
    campaign = a_campaign()
    pacing.hold(f"sender:{campaign.sender_id}", 90, "429 from the provider")
    assert re.search(r"is held for \d\d s more: 429 from the provider\.", reasons())


def test_a_broken_sender_is_a_reason() -> None:
    campaign = a_campaign()
    Sender.objects.filter(pk=campaign.sender_id).update(status="broken", status_reason="token revoked")
    assert "is broken: token revoked." in reasons()


def test_a_paused_queue_is_a_reason() -> None:
    a_campaign()
    pausing.pause("broadcast")
    assert "Queue broadcast is paused" in reasons()


def test_a_queue_without_workers_is_a_reason_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    a_campaign()
    monkeypatch.setattr(presence, "listeners", dict)
    assert reasons().count("No worker that answered listens to queue broadcast") == 1


def test_a_broker_that_is_away_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    a_campaign()
    monkeypatch.setattr(presence, "listeners", lambda: None)
    assert "The broker is away" in reasons()


def test_a_lane_that_fails_and_batches_that_wait_are_reasons() -> None:
    campaign = a_campaign()
    later = timezone.now() + timedelta(minutes=2)
    Job.objects.filter(name="campaigns.lane").update(
        status=Status.RETRY, error="OSError: no\nmore", run_at=later
    )
    Batch.objects.filter(campaign=campaign, number=1).update(due_at=later)
    told = reasons()
    assert "failed: OSError: no." in told
    assert "Messages of 1 batch wait for their next try." in told


def test_others_that_send_through_the_same_sender_are_a_reason() -> None:
    one, other = a_campaign(), a_campaign()
    Campaign.objects.filter(pk=other.pk).update(sender=one.sender)
    answered(other, 100)
    assert f"It shares the rate of sender {one.sender.name} with campaigns {other.pk}." in reasons()


def test_a_preparation_that_takes_minutes_is_stalled() -> None:
    campaign = a_campaign(contacts=1)
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.PREPARING)
    Job.objects.filter(name="campaigns.prepare").update(queue="campaigns")
    pausing.pause("campaigns")
    assert "Queue campaigns is paused" in reasons()
    aged(campaign, 4)
    assert reasons() == ""
