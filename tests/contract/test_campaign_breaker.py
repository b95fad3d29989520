"""When a campaign stops itself: judged by what really got into the ledger."""

import pytest

from longwave.campaigns import ledger, lifecycle, preparing
from longwave.campaigns.control import Control
from longwave.campaigns.models import Campaign, CampaignState
from longwave.campaigns.settling import STOPPED, Pending, settle
from longwave.contacts.models import Contact
from longwave.core.outcomes import Gone, Outcome, Sent, Unknown
from longwave.jobs.models import Job
from longwave.senders import senders
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("database")
ME, OTHER = "host:1:1:aa:0", "host:2:2:bb:0"
UNANSWERED = Unknown("no answer in time")


def a_sender() -> Sender:
    return senders.add("memory", "shop", "breaker", admin_chats=["boss"])


def a_campaign(contacts: int, **fields: object) -> Campaign:
    """Frozen whole, and running."""
    Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(1, contacts + 1))
    campaign = Campaign.objects.create(
        sender=a_sender(), content={"text": "hi"}, name="Spring", batch_size=100, **fields
    )
    lifecycle.start(campaign.pk)
    assert preparing.freeze(campaign.pk, until=lambda: False)
    return lifecycle.get(campaign.pk)


def claimed(campaign: Campaign, owner: str = ME) -> list[Pending]:
    batch = ledger.lease_batch(campaign, owner, 10.0)
    assert batch is not None
    rows = ledger.load(batch.pk, personal=False)
    assert ledger.claim(batch.pk, owner, rows)
    return rows


def record(campaign: Campaign, rows: list[Pending], *outcomes: Outcome) -> None:
    """Each outcome for as many rows as make them even."""
    resend = campaign.on_unknown == "resend"
    settled = [settle(row, outcomes[n % len(outcomes)], resend_unknown=resend) for n, row in enumerate(rows)]
    ledger.record(campaign.pk, settled)


def told() -> list[str]:
    """What the admin is going to read."""
    return [job.args["fields"]["notice"] for job in Job.objects.filter(name="senders.send_notification")]


@pytest.mark.parametrize("on_unknown", ["skip", "resend"])
def test_a_provider_that_never_answers_stops_the_campaign(on_unknown: str) -> None:
    campaign = a_campaign(100, on_unknown=on_unknown)
    record(campaign, claimed(campaign), UNANSWERED)

    Control.judge(campaign.pk)

    paused = lifecycle.get(campaign.pk)
    assert paused.state == CampaignState.PAUSED
    assert paused.reason == "100% of the latest sends failed (limit 10%): no answer in time (100×)"
    assert told() == [f"Campaign {campaign.pk} (Spring) is paused: {paused.reason}"]


def test_one_unanswered_request_in_ten_is_within_the_limit() -> None:
    campaign = a_campaign(100)
    record(campaign, claimed(campaign), UNANSWERED, *[Sent("1")] * 9)

    Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_what_our_own_crashes_and_stops_left_unknown_pauses_nothing() -> None:
    campaign = a_campaign(500)
    for _ in range(4):  # four workers killed with a batch each
        claimed(campaign, ME)
        ledger.expire_owner(ME)
        assert ledger.lease_batch(campaign, OTHER, 10.0) is not None
    record(campaign, claimed(campaign), STOPPED)  # a fifth that was told to stop

    Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_people_who_blocked_the_bot_pause_nothing() -> None:
    campaign = a_campaign(100)
    record(campaign, claimed(campaign), Gone("blocked"), Sent("1"))

    Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING
