"""What people may ask of a campaign, and what they are told when they may not."""

import pytest

from longwave.campaigns import control, ledger, lifecycle
from longwave.campaigns.models import Batch, Campaign, CampaignState, ErrorTally
from longwave.core.errors import Conflict, InvalidInput
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("sqlite")


def a_campaign(state: CampaignState, **fields: object) -> Campaign:
    sender = Sender.objects.create(channel="telegram", name="s", credentials="x", rate=1000)
    content = {"kind": "text", "text": "hi"}
    return Campaign.objects.create(sender=sender, content=content, name="c", state=state, **fields)


@pytest.mark.parametrize("rate", [1000.0, None])
def test_a_free_broadcast_cannot_be_made_faster_than_telegram_grants(rate: float | None) -> None:
    campaign = a_campaign(CampaignState.RUNNING, rate=30)

    with pytest.raises(InvalidInput, match="paid"):
        lifecycle.set_rate(campaign.pk, rate)

    assert lifecycle.get(campaign.pk).rate == 30


def test_a_rate_below_the_free_one_is_taken() -> None:
    campaign = a_campaign(CampaignState.RUNNING, rate=30)

    assert lifecycle.set_rate(campaign.pk, 10).rate == 10


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        (CampaignState.PREPARING, "pause, cancel"),
        (CampaignState.RUNNING, "pause, cancel"),
        (CampaignState.PAUSED, "resume, cancel"),
        (CampaignState.SCHEDULED, "schedule, unschedule, start, cancel"),
        (CampaignState.COMPLETED, "nothing"),
    ],
)
def test_a_refusal_names_only_what_a_person_can_ask_for(state: CampaignState, allowed: str) -> None:
    campaign = a_campaign(state)

    with pytest.raises(Conflict) as refused:
        lifecycle.reopen(campaign.pk) if state != CampaignState.COMPLETED else lifecycle.pause(campaign.pk)

    assert str(refused.value).endswith(f"What can be done now: {allowed}.")


def a_refused_campaign() -> Campaign:
    """Paused by the breaker at its opening, and resumed at once."""
    campaign = a_campaign(CampaignState.PAUSED, prepared=True, recipients=1000, rate=30)
    Batch.objects.create(campaign=campaign, number=1, size=1000, rejected=6)
    ErrorTally.objects.create(campaign=campaign, outcome="rejected", text="chat not found", count=6)
    ledger._add_buckets(campaign.pk, {"rejected": 6})
    return lifecycle.resume(campaign.pk)


def test_whoever_resumes_after_the_first_refusals_is_not_stopped_by_the_next_one() -> None:
    campaign = a_refused_campaign()
    ledger._add_buckets(campaign.pk, {"rejected": 1})

    control.Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_five_more_refusals_right_after_a_resume_pause_it_again() -> None:
    campaign = a_refused_campaign()
    ledger._add_buckets(campaign.pk, {"rejected": 5})

    control.Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.PAUSED


def test_failures_in_the_second_of_the_resume_are_judged() -> None:
    campaign = a_refused_campaign()
    Batch.objects.update(sent=80)
    ledger._add_buckets(campaign.pk, {"rejected": 20, "sent": 80})

    control.Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).reason.startswith("20% of the latest sends failed")
