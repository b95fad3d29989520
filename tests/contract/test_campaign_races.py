"""What two processes, or a process and a person, do to one campaign at the same moment."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from threading import Thread

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from longwave.campaigns import clearing, leases, ledger, lifecycle, preparing, resolving, set_clock, tending
from longwave.campaigns.models import Batch, Campaign, CampaignState, Delivery
from longwave.campaigns.settling import settle
from longwave.contacts.models import Contact
from longwave.core.errors import Conflict
from longwave.core.outcomes import Outcome, Rejected, Sent
from longwave.jobs import set_clock as job_clock
from longwave.jobs.models import Job
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("database")


def a_draft(contacts: int = 5, batch_size: int = 3, **fields: object) -> Campaign:
    sender = Sender.objects.create(channel="memory", name=f"s{Sender.objects.count()}", credentials="x")
    Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(1, contacts + 1))
    values = {"content": {"text": "hi"}, "name": "c", **fields}
    return Campaign.objects.create(sender=sender, batch_size=batch_size, **values)


def a_campaign(contacts: int = 5, batch_size: int = 3, **fields: object) -> Campaign:
    """Frozen whole, and running."""
    campaign = a_draft(contacts, batch_size, **fields)
    lifecycle.start(campaign.pk)
    assert preparing.freeze(campaign.pk, until=lambda: False)
    return lifecycle.get(campaign.pk)


def states(campaign: Campaign) -> Counter[str]:
    return Counter(Delivery.objects.filter(campaign=campaign).values_list("state", flat=True))


def test_a_pause_and_resume_in_the_middle_of_freezing_leaves_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = a_draft(contacts=7, batch_size=3)
    lifecycle.start(campaign.pk)
    look = lifecycle.get
    freeze_chunk = preparing.ledger.freeze_chunk

    def paused_before_the_second_chunk(*args: object) -> int | None:
        if Batch.objects.count() == 1 and look(campaign.pk).state == CampaignState.PREPARING:
            lifecycle.pause(campaign.pk)
            try:
                return freeze_chunk(*args)  # type: ignore[arg-type]
            finally:
                lifecycle.resume(campaign.pk)
                monkeypatch.setattr(preparing.ledger, "freeze_chunk", freeze_chunk)
        return freeze_chunk(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(preparing.ledger, "freeze_chunk", paused_before_the_second_chunk)
    while not preparing.freeze(campaign.pk, until=lambda: False):
        pass

    assert look(campaign.pk).state == CampaignState.RUNNING
    assert look(campaign.pk).recipients == 7


def test_a_campaign_is_not_completed_while_somebody_reopens_a_batch(database: str) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("has one writer at a time")
    campaign = a_campaign(contacts=3)
    Delivery.objects.update(state="unknown")
    Batch.objects.update(state="done", unknown=3)
    answers: list[bool] = []

    def complete() -> None:
        try:
            answers.append(lifecycle.complete(campaign.pk))
        finally:
            connection.close()

    with transaction.atomic():
        assert ledger._may_reopen(Batch.objects.get().pk)
        other = Thread(target=complete)
        other.start()
        other.join(0.1)
    other.join(10)

    assert answers == [False]
    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_a_decision_that_comes_after_the_cancel_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = a_campaign(contacts=3)
    Delivery.objects.update(state="unknown")
    Batch.objects.update(state="done", unknown=3)
    stale = lifecycle.get(campaign.pk)
    lifecycle.cancel(campaign.pk)
    clearing.clear(campaign.pk, until=lambda: False)
    monkeypatch.setattr(resolving.lifecycle, "get", lambda _: stale)

    with pytest.raises(Conflict):
        resolving.resend_unknown(campaign.pk)

    assert states(campaign) == {"unknown": 3}


def test_a_completed_campaign_goes_on_with_the_first_batch_that_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = a_campaign(contacts=6)
    Delivery.objects.update(state="unknown")
    Batch.objects.update(state="done", unknown=3)
    assert lifecycle.complete(campaign.pk)
    recount, counted = ledger.recount, []

    def killed_in_the_second_batch(batch_id: int) -> None:
        counted.append(batch_id)
        if len(counted) == 2:
            raise KeyboardInterrupt
        recount(batch_id)

    monkeypatch.setattr(ledger, "recount", killed_in_the_second_batch)
    with pytest.raises(KeyboardInterrupt):
        resolving.resend_unknown(campaign.pk)

    assert states(campaign) == {"pending": 3, "unknown": 3}
    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_one_campaign_that_cannot_be_tended_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = a_campaign(contacts=1)
    Contact.objects.all().delete()
    good = a_campaign(contacts=1)
    asked = []

    def submit_lanes(campaign: Campaign) -> None:
        asked.append(campaign.pk)
        if campaign == bad:
            raise ValueError("something nobody thought of")

    monkeypatch.setattr(lifecycle, "submit_lanes", submit_lanes)
    tending.tend()

    assert sorted(asked) == [bad.pk, good.pk]


def test_on_sqlite_a_cancel_comes_through_between_two_chunks_of_freezing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("has more than one writer")
    campaign = a_draft(contacts=7, batch_size=3)
    lifecycle.start(campaign.pk)
    monkeypatch.setattr("longwave.campaigns.ledger.time.sleep", lambda _: lifecycle.cancel(campaign.pk))

    assert preparing.freeze(campaign.pk, until=lambda: False)

    assert states(campaign) == {"pending": 3}


def test_clearing_stops_when_its_turn_is_over_and_goes_on_where_it_stopped() -> None:
    campaign = a_campaign(contacts=5, batch_size=1)
    lifecycle.cancel(campaign.pk)
    turn_is_over = iter([False, False, True])

    assert not clearing.clear(campaign.pk, until=lambda: next(turn_is_over))
    assert states(campaign) == {"cancelled": 2, "pending": 3}
    assert clearing.clear(campaign.pk, until=lambda: False)
    assert states(campaign) == {"cancelled": 5}


def test_a_batch_whose_clearing_was_killed_is_cleared_whole_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = a_campaign(contacts=3)
    lifecycle.cancel(campaign.pk)
    recount = ledger.recount

    def killed(_: int) -> None:
        monkeypatch.setattr(ledger, "recount", recount)
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "recount", killed)
    with pytest.raises(KeyboardInterrupt):
        clearing.clear(campaign.pk, until=lambda: False)
    assert clearing.clear(campaign.pk, until=lambda: False)

    assert states(campaign) == {"cancelled": 3}
    assert Batch.objects.get().cancelled == 3


def test_clearing_leaves_a_batch_to_the_lane_that_is_at_work_on_it() -> None:
    campaign = a_campaign(contacts=5, batch_size=3)
    assert leases.lease_batch(campaign, "me", 10.0) is not None
    lifecycle.cancel(campaign.pk)

    assert not clearing.clear(campaign.pk, until=lambda: False)

    assert states(campaign) == {"pending": 3, "cancelled": 2}


def test_a_cancel_whose_clearing_was_given_up_is_cleared_after_all() -> None:
    campaign = a_campaign(contacts=1)
    lifecycle.cancel(campaign.pk)
    Job.objects.all().delete()

    tending.tend()

    assert Job.objects.filter(name="campaigns.clear").count() == 1


def test_an_audience_that_cannot_be_frozen_pauses_the_campaign_with_the_reason() -> None:
    campaign = a_draft()
    lifecycle.start(campaign.pk)
    Campaign.objects.update(segment={"no such": "segment"})

    assert preparing.freeze(campaign.pk, until=lambda: False)

    paused = lifecycle.get(campaign.pk)
    assert paused.state == CampaignState.PAUSED
    assert paused.reason.startswith("its audience cannot be frozen: ")


def test_one_schedule_that_cannot_be_kept_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, kept = a_draft(contacts=1), a_draft(contacts=0)
    Campaign.objects.update(state=CampaignState.SCHEDULED, scheduled_at=Now())
    start = lifecycle.start

    def unscheduled_meanwhile(campaign_id: int) -> Campaign:
        if campaign_id == gone.pk:
            lifecycle.unschedule(campaign_id)
            raise Conflict("it is a draft")
        return start(campaign_id)

    monkeypatch.setattr(lifecycle, "start", unscheduled_meanwhile)
    tending.start_due()

    assert lifecycle.get(kept.pk).state == CampaignState.PREPARING


def ends_soon(work: Callable[[], object]) -> bool:
    """Whether it ends within seconds, done in a thread with a connection of its own."""

    def do() -> None:
        try:
            work()
        finally:
            connection.close()

    other = Thread(target=do, daemon=True)
    other.start()
    other.join(5)
    return not other.is_alive()


@pytest.mark.parametrize("outcome", [Sent("1"), Rejected("bad")])
def test_outcomes_are_written_while_a_bots_open_transaction_has_paused_the_campaign(
    outcome: Outcome, database: str
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("has one writer at a time")
    campaign = a_campaign(contacts=3)
    batch = leases.lease_batch(campaign, "host:1:1:aa:0", 10.0)
    assert batch is not None
    rows = ledger.load(batch.pk, personal=False)
    assert ledger.claim(batch.pk, "host:1:1:aa:0", rows)

    with transaction.atomic():
        lifecycle.pause(campaign.pk)
        assert ends_soon(lambda: ledger.record(campaign.pk, [settle(row, outcome) for row in rows]))


def test_a_campaign_that_a_bots_open_transaction_holds_keeps_no_other_from_the_beat(database: str) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("has one writer at a time")
    held, due = a_draft(contacts=1), a_draft(contacts=0)
    held_done, done = a_campaign(contacts=0), a_campaign(contacts=0)
    Campaign.objects.filter(pk__in=[held.pk, due.pk]).update(
        state=CampaignState.SCHEDULED, scheduled_at=Now()
    )
    Batch.objects.update(state="done", sent=1)

    with transaction.atomic():
        lifecycle.unschedule(held.pk)
        lifecycle.pause(held_done.pk)
        assert ends_soon(lambda: (tending.start_due(), tending.tend()))
    found = {campaign.pk: campaign.state for campaign in Campaign.objects.all()}
    assert found == {held.pk: "draft", due.pk: "preparing", held_done.pk: "paused", done.pk: "completed"}


@pytest.mark.parametrize("change", ["withdrawn", "moved"])
def test_a_schedule_that_was_changed_meanwhile_starts_nothing(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = a_draft(contacts=1), a_draft(contacts=0)
    Campaign.objects.update(state=CampaignState.SCHEDULED, scheduled_at=Now())
    start = lifecycle.start

    def start_slowly(campaign_id: int) -> Campaign:
        if change == "withdrawn":
            lifecycle.unschedule(second.pk)
        else:
            Campaign.objects.filter(pk=second.pk).update(scheduled_at=timezone.now() + timedelta(days=1))
        return start(campaign_id)

    monkeypatch.setattr(lifecycle, "start", start_slowly)
    tending.start_due()

    assert lifecycle.get(first.pk).state == CampaignState.PREPARING
    assert lifecycle.get(second.pk).state == ("draft" if change == "withdrawn" else "scheduled")


def test_a_budget_is_spent_by_one_lane() -> None:
    campaign = a_draft(contacts=9)
    lifecycle.start(campaign.pk)
    Campaign.objects.update(batch_size=1, paid=True, stars_budget=10)
    Job.objects.all().delete()
    assert preparing.freeze(campaign.pk, until=lambda: False)
    assert Job.objects.filter(name="campaigns.lane").count() == 1


def leased(campaign: Campaign, owner: str, **lease: int) -> Batch:
    """Its first batch in the hands of a lane of that job, with one delivery on its way."""
    batch = leases.lease_batch(campaign, f"{owner}:1", 10)
    assert batch is not None
    Delivery.objects.filter(pk=Delivery.objects.filter(batch=batch).first().pk).update(state="sending")  # type: ignore[union-attr]
    Batch.objects.filter(pk=batch.pk).update(lease_until=Now() + timedelta(**lease))
    return batch


@pytest.mark.parametrize("policy", ["resend", "skip"])
def test_a_clock_that_is_set_ahead_takes_no_batch_from_a_living_lane(policy: str) -> None:
    campaign = a_campaign(on_unknown=policy)
    owner = "host:7:8:abcd"
    lane = Job.objects.create(name="campaigns.lane", queue="broadcast", status="running", owner=owner)
    first = leased(campaign, owner, hours=-1)

    second = leases.lease_batch(campaign, "other:7:8:abcd:2", 10)
    assert second is not None
    assert second.pk != first.pk
    assert leases.lease_batch(campaign, "other:7:8:abcd:3", 10) is None
    assert states(campaign)["sending"] == 1

    Job.objects.filter(pk=lane.pk).update(status="queued", owner="")  # the beat has found its worker dead
    taken = leases.lease_batch(campaign, "other:7:8:abcd:3", 10)
    assert taken is not None
    assert taken.pk == first.pk
    assert states(campaign)["sending"] == 0


def test_a_clock_that_is_set_back_leaves_no_batch_and_no_try_in_the_future() -> None:
    campaign = a_campaign(contacts=6, batch_size=3)
    dead = leased(campaign, "host:7:8:abcd", hours=1)
    waits = Batch.objects.exclude(pk=dead.pk).get()
    late = Now() + timedelta(hours=1)
    Batch.objects.filter(pk=waits.pk).update(due_at=late)
    Delivery.objects.filter(state="pending").update(retry_at=late)

    job_clock.take_back_from_the_future()
    soon = timezone.now() + timedelta(seconds=set_clock.LONGEST + 5)
    dead.refresh_from_db()
    waits.refresh_from_db()
    assert dead.lease_until is not None
    assert dead.lease_until < timezone.now() + timedelta(seconds=15)
    assert waits.due_at is not None
    assert waits.due_at < soon
    assert not Delivery.objects.filter(retry_at__gt=soon).exists()
    assert job_clock.take_back_from_the_future() == 0
