"""What the report says of rates and errors, from what the ledger has counted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from longwave.campaigns import leases, ledger, lifecycle, preparing, report, resolving
from longwave.campaigns.models import Bucket, Campaign
from longwave.campaigns.settling import settle
from longwave.contacts.models import Contact
from longwave.core.outcomes import Outcome, Rejected, Sent
from longwave.senders import senders
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("sqlite")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_campaign(seconds: float, sent: dict[int, int], **fields: Any) -> Campaign:
    """Started at noon, ended so many seconds later. sent: {seconds after noon: how many in the ten from there on}."""
    sender = Sender.objects.create(channel="memory", name="s", credentials="x", rate=30)
    end = NOON + timedelta(seconds=seconds)
    values = {"state": "completed", "started_at": NOON, "finished_at": end, **fields}
    campaign = Campaign.objects.create(sender=sender, content={"text": "hi"}, name="c", **values)
    for at, count in sent.items():
        ten = int(NOON.timestamp() + at) // ledger.BUCKET_SECONDS
        Bucket.objects.create(campaign=campaign, at=ten, outcome="sent", count=count)
    return campaign


def rates(campaign: Campaign) -> tuple[float, float]:
    document = report.report(campaign)
    return document["mean_rate"], document["peak_rate"]


def test_the_mean_is_taken_from_the_start_to_the_end() -> None:
    start = NOON + timedelta(seconds=4)
    campaign = a_campaign(25, {0: 180, 10: 300, 20: 150}, started_at=start)

    assert rates(campaign) == (30.0, 30.0)


def test_a_pause_a_hold_and_the_wait_for_retries_do_not_lower_it() -> None:
    assert rates(a_campaign(400, {0: 300, 100: 300, 110: 300, 390: 290})) == (29.75, 30.0)


def test_of_a_paused_campaign_the_time_until_the_pause_counts() -> None:
    campaign = a_campaign(0, {0: 300, 10: 60}, state="paused", finished_at=None)
    campaign.state_at = NOON + timedelta(seconds=12)

    assert rates(campaign) == (30.0, 30.0)


def test_without_anything_sent_there_is_no_rate() -> None:
    assert rates(a_campaign(10, {})) == (0.0, 0.0)


def test_an_error_stays_in_the_report_as_one_that_was_met_when_the_next_try_is_sent() -> None:
    Contact.objects.create(channel="memory", address="ann")
    sender = senders.add("memory", "shop", "report")
    campaign = Campaign.objects.create(sender=sender, content={"text": "hi"}, name="c")
    lifecycle.start(campaign.pk)
    assert preparing.freeze(campaign.pk, until=lambda: False)
    send_all(campaign, Rejected("chat not found"))
    resolving.retry_failed(campaign.pk)
    send_all(campaign, Sent("1"))

    document = report.report(lifecycle.get(campaign.pk))

    assert (document["state"], document["sent"], document["rejected"]) == ("completed", 1, 0)
    assert document["errors"] == [{"outcome": "rejected", "text": "chat not found", "count": 1}]


def send_all(campaign: Campaign, outcome: Outcome) -> None:
    batch = leases.lease_batch(campaign, "me", 10.0)
    assert batch is not None
    rows = ledger.load(batch.pk, personal=False)
    assert ledger.claim(batch.pk, "me", rows)
    ledger.record(campaign.pk, [settle(row, outcome) for row in rows])
    assert leases.close_batch(campaign, batch.pk, "me")
    assert lifecycle.complete(campaign.pk)
