"""What people may ask of a campaign, and what they are told when they may not."""

from collections.abc import Callable, Sequence

import pytest
from django.utils import timezone

from longwave.campaigns import control, ledger, lifecycle, pricing
from longwave.campaigns.models import Batch, Bucket, Campaign, CampaignState, ErrorTally
from longwave.contacts.models import Contact, ContactList, Membership
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


@pytest.mark.parametrize("rate", [0.0, 1e-4, 1e-300, 1e6, float("nan")])
def test_a_rate_that_no_schedule_can_keep_is_refused(rate: float) -> None:
    campaign = a_campaign(CampaignState.RUNNING, rate=30)

    with pytest.raises(InvalidInput, match=r"must be 0\.001 to 100,000 messages a second"):
        lifecycle.set_rate(campaign.pk, rate)

    assert lifecycle.get(campaign.pk).rate == 30


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        (CampaignState.PREPARING, "pause, cancel"),
        (CampaignState.RUNNING, "pause, cancel"),
        (CampaignState.PAUSED, "resume, cancel"),
        (CampaignState.SCHEDULED, "schedule, unschedule, start, cancel"),
    ],
)
def test_a_refusal_names_only_what_a_person_can_ask_for(state: CampaignState, allowed: str) -> None:
    campaign = a_campaign(state)

    with pytest.raises(Conflict) as refused:
        lifecycle.reopen(campaign.pk)

    assert str(refused.value).endswith(f"What can be done now: {allowed}.")


@pytest.mark.parametrize("state", [CampaignState.COMPLETED, CampaignState.CANCELLED])
def test_a_campaign_that_has_ended_says_so(state: CampaignState) -> None:
    with pytest.raises(Conflict, match=f"it is {state}. It has ended; `longwave campaign create`"):
        lifecycle.pause(a_campaign(state).pk)


def test_a_refused_resume_is_called_so_and_a_draft_has_its_article() -> None:
    with pytest.raises(
        Conflict, match=r"^Cannot resume campaign \d+: it is a draft\. What can be done now: schedule"
    ):
        lifecycle.resume(a_campaign(CampaignState.DRAFT, rate=30).pk)


def a_refused_campaign() -> Campaign:
    """Paused by the breaker at its opening, and resumed at once."""
    campaign = a_campaign(CampaignState.PAUSED, prepared=True, recipients=1000, rate=30)
    Batch.objects.create(campaign=campaign, number=1, size=1000, rejected=6)
    ErrorTally.objects.create(campaign=campaign, outcome="rejected", text="chat not found", count=6)
    ledger.add_buckets(campaign.pk, {"rejected": 6})
    return lifecycle.resume(campaign.pk)


def test_whoever_resumes_after_the_first_refusals_is_not_stopped_by_the_next_one() -> None:
    campaign = a_refused_campaign()
    ledger.add_buckets(campaign.pk, {"rejected": 1})

    control.Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_five_more_refusals_right_after_a_resume_pause_it_again() -> None:
    campaign = a_refused_campaign()
    ledger.add_buckets(campaign.pk, {"rejected": 5})

    control.Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.PAUSED


def test_failures_in_the_second_of_the_resume_are_judged() -> None:
    campaign = a_refused_campaign()
    Batch.objects.update(sent=80)
    ledger.add_buckets(campaign.pk, {"rejected": 20, "sent": 80})

    control.Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).reason.startswith("20% of the latest sends failed")


def a_paid_campaign(budget: int, people: int = 1000, **fields: object) -> Campaign:
    """At 1,000/s, of which 970 are charged: 97 Stars for a thousand people."""
    values = {"state": CampaignState.DRAFT, "paid": True, "stars_budget": budget, **fields}
    if people:
        Contact.objects.bulk_create(Contact(channel="telegram", address=str(n)) for n in range(1, people + 1))
    return a_campaign(values.pop("state"), **values)  # type: ignore[arg-type]


def schedule(campaign_id: int) -> Campaign:
    return lifecycle.schedule(campaign_id, timezone.now())


@pytest.mark.parametrize("begin", [lifecycle.start, schedule])
def test_a_budget_that_does_not_pay_for_everybody_is_refused_with_both_numbers(
    begin: Callable[[int], object],
) -> None:
    campaign = a_paid_campaign(96)

    with pytest.raises(InvalidInput, match=r"stars_budget = 96: at 1000/s it costs 97 Stars") as refused:
        begin(campaign.pk)

    assert "--stars-budget 97" in str(refused.value)
    assert lifecycle.get(campaign.pk).state == CampaignState.DRAFT


def test_a_budget_that_pays_for_everybody_is_taken() -> None:
    assert lifecycle.start(a_paid_campaign(97).pk).state == CampaignState.PREPARING


def test_a_rate_that_its_budget_cannot_pay_for_is_refused_and_a_lower_one_is_not() -> None:
    campaign = a_paid_campaign(70, rate=100)
    assert lifecycle.start(campaign.pk)

    with pytest.raises(InvalidInput, match="stars_budget = 70: at 200/s it costs 85 Stars"):
        lifecycle.set_rate(campaign.pk, 200)
    assert lifecycle.set_rate(campaign.pk, 50).rate == 50


def test_what_was_sent_at_a_higher_rate_stays_as_dear_as_it_was() -> None:
    campaign = a_paid_campaign(97, people=0, state=CampaignState.RUNNING)
    Bucket.objects.create(campaign=campaign, at=1, outcome="sent", count=10_000)
    assert pricing.spent(campaign) == pytest.approx(970)

    campaign.rate = 100
    assert pricing.spent(campaign) == pytest.approx(970)


def test_at_the_free_rate_no_budget_is_needed() -> None:
    assert pricing.affordable(a_paid_campaign(5, people=0, rate=30)) is None


def test_who_resumes_with_nothing_left_to_spend_is_told_how_to_go_on_for_nothing() -> None:
    campaign = a_paid_campaign(1, people=0, state=CampaignState.PAUSED, prepared=True, recipients=1000)
    Bucket.objects.create(campaign=campaign, at=1, outcome="sent", count=11)

    with pytest.raises(Conflict, match=f"longwave campaign rate {campaign.pk} 30"):
        lifecycle.resume(campaign.pk)

    lifecycle.set_rate(campaign.pk, 30)
    assert lifecycle.resume(campaign.pk).state == CampaignState.RUNNING


@pytest.mark.parametrize("begin", [lifecycle.start, schedule])
def test_a_message_that_is_wrong_for_the_first_who_get_it_is_refused_before_it_starts(
    begin: Callable[[int], object],
) -> None:
    campaign = a_campaign(CampaignState.DRAFT, rate=30, contact_list=a_list("ann", "bob", named=["ann"]))
    Campaign.objects.update(content={"kind": "text", "text": "Hi {{ name }}"})

    with pytest.raises(InvalidInput, match="text for 2"):
        begin(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.DRAFT


def test_the_same_mistake_for_many_is_named_once() -> None:
    campaign = a_campaign(
        CampaignState.DRAFT, rate=30, contact_list=a_list("ann", "bob", "eve", named=["bob"])
    )
    Campaign.objects.update(content={"kind": "text", "text": "Hi {{ name }}"})

    with pytest.raises(InvalidInput) as caught:
        lifecycle.start(campaign.pk)

    assert [problem.field for problem in caught.value.problems] == ["text for 1 and 1 more"]


def test_what_a_person_cannot_do_now_comes_before_what_is_wrong_with_the_message() -> None:
    campaign = a_campaign(CampaignState.CANCELLED, rate=30)
    Campaign.objects.update(content={"kind": "text", "text": ""})

    with pytest.raises(Conflict, match="Cannot start"):
        lifecycle.start(campaign.pk)


def a_list(*people: str, named: Sequence[str]) -> ContactList:
    made = ContactList.objects.create(name="people", channel="telegram")
    for number, person in enumerate(people, 1):
        attributes = {"name": person} if person in named else {}
        contact = Contact.objects.create(channel="telegram", address=str(number), attributes=attributes)
        Membership.objects.create(contact_list=made, contact=contact)
    return made
