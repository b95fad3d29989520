"""When a campaign stops itself: judged by what really got into the ledger."""

import re
from collections.abc import Callable

import pytest
from django.db import OperationalError
from django.db.models import F
from msgspec import structs

from longwave.campaigns import control, leases, ledger, lifecycle, preparing, report, resolving, tending
from longwave.campaigns.control import Control
from longwave.campaigns.models import Bucket, Campaign, CampaignState
from longwave.campaigns.settling import STOPPED, Pending, settle
from longwave.contacts.models import Contact
from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, Sent, Throttled, Unknown
from longwave.jobs import submission
from longwave.jobs.models import Job
from longwave.senders import senders
from longwave.senders.models import Sender, SenderStatus

pytestmark = pytest.mark.usefixtures("database")
ME, OTHER = "host:1:1:aa:0", "host:2:2:bb:0"
BAD = Rejected("chat not found")
REFUSED = Retry("connection refused")
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
    batch = leases.lease_batch(campaign, owner, 10.0)
    assert batch is not None
    rows = ledger.load(batch.pk, personal=False)
    assert ledger.claim(batch.pk, owner, rows)
    return rows


def claimed_again(rows: list[Pending]) -> list[Pending]:
    """The second try of the same."""
    again = [structs.replace(row, attempt=row.attempt + 1, tries=row.tries + 1) for row in rows]
    assert ledger.claim(rows[0].batch_id, ME, again)
    return again


def record(campaign: Campaign, rows: list[Pending], *outcomes: Outcome) -> None:
    """Each outcome for as many rows as make them even."""
    resend = campaign.on_unknown == "resend"
    settled = [settle(row, outcomes[n % len(outcomes)], resend_unknown=resend) for n, row in enumerate(rows)]
    ledger.record(campaign.pk, settled)


def told() -> list[str]:
    """What the admin is going to read."""
    return [job.args["fields"]["notice"] for job in Job.objects.filter(name="senders.tell_admin")]


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
        leases.expire_owner(ME)
        assert leases.lease_batch(campaign, OTHER, 10.0) is not None
    record(campaign, claimed(campaign), STOPPED)  # a fifth that was told to stop

    Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


@pytest.mark.parametrize("words", ["Unauthorized\0", "Unauthorized \udcff"])
def test_a_refused_sender_stops_everything_whatever_its_providers_words(words: str) -> None:
    campaign = a_campaign(1)

    control.break_sender(campaign.sender, words)

    paused = lifecycle.get(campaign.pk)
    assert (paused.state, paused.sender.status) == (CampaignState.PAUSED, SenderStatus.BROKEN)
    assert "Unauthorized" in paused.reason


def test_a_clock_that_was_set_back_makes_the_breaker_neither_blind_nor_resentful() -> None:
    campaign = a_campaign(200)
    record(campaign, claimed(campaign), Sent("1"))
    an_hour_ahead()
    record(campaign, claimed(campaign), UNANSWERED)

    Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.PAUSED
    an_hour_ahead()
    lifecycle.resume(campaign.pk)
    Control.judge(campaign.pk)
    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_a_clock_that_was_set_back_hides_no_silence() -> None:
    campaign = a_campaign(100)
    rows = claimed(campaign)
    record(campaign, rows[:20], Sent("1"))
    an_hour_ahead()
    record(campaign, rows[20:60], REFUSED)
    ten_seconds_pass_until_now(4)
    record(campaign, rows[60:], REFUSED)

    tending.tend()

    assert lifecycle.get(campaign.pk).state == CampaignState.PAUSED


def test_what_is_dated_ahead_is_no_rate_of_now() -> None:
    campaign = a_campaign(100)
    record(campaign, claimed(campaign), Sent("1"))
    an_hour_ahead()

    assert report.progress(campaign).rate == 0


def an_hour_ahead() -> None:
    """What was charted was so by a clock that has been set back by an hour since."""
    Bucket.objects.update(at=F("at") + 360)


def ten_seconds_pass_until_now(times: int) -> None:
    """As `ten_seconds_pass`, but for what is dated ahead."""
    now = ledger.bucket_now(0)["at"]
    Bucket.objects.filter(at__lte=now).update(at=F("at") - times)


def test_people_who_blocked_the_bot_pause_nothing() -> None:
    campaign = a_campaign(100)
    record(campaign, claimed(campaign), Gone("blocked"), Sent("1"))

    Control.judge(campaign.pk)

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def ten_seconds_pass(times: int = 1) -> None:
    """What was charted, and what a resume has judged, is that much older."""
    Bucket.objects.update(at=F("at") - times)
    for campaign in Campaign.objects.exclude(judged={}):
        campaign.judged["at"] -= times
        campaign.save(update_fields=["judged"])


@pytest.mark.parametrize("fault", [REFUSED, UNANSWERED])
def test_a_provider_that_is_away_pauses_even_the_smallest_campaign_within_half_a_minute(
    fault: Outcome,
) -> None:
    campaign = a_campaign(6)
    rows = claimed(campaign)
    record(campaign, rows[:3], fault)
    ten_seconds_pass()
    record(campaign, rows[3:], fault)
    tending.tend()
    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING

    ten_seconds_pass(2)
    tending.tend()

    paused = lifecycle.get(campaign.pk)
    assert paused.state == CampaignState.PAUSED
    assert re.match(r"nothing got through for (3\d|40) s: ", paused.reason)
    assert f"{fault.reason} (6×)" in paused.reason  # type: ignore[union-attr]
    assert told() == [f"Campaign {campaign.pk} (Spring) is paused: {paused.reason}"]


@pytest.mark.parametrize("answer", [Sent("1"), Gone("blocked"), Throttled(30.0), Retry("moved", "-1007")])
def test_a_provider_that_answers_anything_else_is_there(answer: Outcome) -> None:
    campaign = a_campaign(50)
    rows = claimed(campaign)
    record(campaign, rows[:20], REFUSED)
    ten_seconds_pass()
    record(campaign, rows[20:40], REFUSED)
    record(campaign, rows[40:41], answer)
    ten_seconds_pass(3)

    tending.tend()

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_one_blip_pauses_nothing_however_long_its_rows_wait_for_their_next_try() -> None:
    campaign = a_campaign(50)
    record(campaign, claimed(campaign), REFUSED)
    ten_seconds_pass(4)

    tending.tend()

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_the_few_whose_every_try_fails_do_not_keep_a_campaign_from_its_end() -> None:
    campaign = a_campaign(100)
    rows = claimed(campaign)
    record(campaign, rows[:91], Sent("1"))
    ten_seconds_pass()
    record(campaign, rows[91:], REFUSED)
    ten_seconds_pass()
    record(campaign, claimed_again(rows[91:]), REFUSED)
    assert Bucket.objects.filter(outcome="retried").count() == 2
    ten_seconds_pass(2)

    tending.tend()

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING


def test_whoever_resumes_into_a_silence_is_told_again_only_by_what_came_since() -> None:
    campaign = a_campaign(20)
    rows = claimed(campaign)
    record(campaign, rows[:5], REFUSED)
    ten_seconds_pass()
    record(campaign, rows[5:10], REFUSED)
    ten_seconds_pass(2)
    tending.tend()
    lifecycle.resume(campaign.pk)

    record(campaign, rows[10:15], REFUSED)
    ten_seconds_pass(3)
    tending.tend()
    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING

    record(campaign, rows[15:], REFUSED)
    tending.tend()
    assert lifecycle.get(campaign.pk).state == CampaignState.PAUSED


def ended(campaign: Campaign, *outcomes: Outcome) -> Campaign:
    """All that is left met these outcomes, and its last lane has found nothing more to do."""
    rows = claimed(campaign)
    record(campaign, rows, *outcomes)
    assert leases.close_batch(campaign, rows[0].batch_id, ME)
    assert lifecycle.complete(campaign.pk)
    return lifecycle.get(campaign.pk)


def test_a_campaign_that_met_only_refusals_fails_and_says_why() -> None:
    campaign = ended(a_campaign(4), BAD, Gone("blocked"))

    assert campaign.state == CampaignState.FAILED
    assert campaign.reason == "none of its messages could be sent: chat not found (2×)"
    assert told() == [f"Campaign {campaign.pk} (Spring) is failed: {campaign.reason}"]


def test_what_failed_can_be_tried_again_and_ends_well() -> None:
    campaign = ended(a_campaign(3), BAD)

    assert resolving.retry_failed(campaign.pk) == 3
    again = lifecycle.get(campaign.pk)
    assert again.state == CampaignState.RUNNING

    done = ended(again, Sent("1"))
    assert (done.state, done.reason) == (CampaignState.COMPLETED, "")


def test_a_campaign_that_somebody_got_is_completed() -> None:
    assert ended(a_campaign(4), BAD, Sent("1")).state == CampaignState.COMPLETED


@pytest.mark.parametrize("decide", [resolving.resend_unknown, resolving.skip_unknown])
def test_a_campaign_that_nobody_is_known_to_have_got_fails_until_somebody_decides(
    decide: Callable[[int], int],
) -> None:
    campaign = ended(a_campaign(4), UNANSWERED)

    assert campaign.state == CampaignState.FAILED
    assert campaign.reason == "none of its messages is known to have arrived: no answer in time (4×)"
    assert decide(campaign.pk) == 4


def test_a_campaign_whose_only_worker_died_fails_and_says_so() -> None:
    campaign = a_campaign(2)
    claimed(campaign)
    leases.expire_owner(ME)
    batch = leases.lease_batch(campaign, OTHER, 10.0)
    assert batch is not None
    assert leases.close_batch(campaign, batch.pk, OTHER)

    assert lifecycle.complete(campaign.pk)

    assert lifecycle.get(campaign.pk).reason.endswith("is known to have arrived: their worker died")


def test_a_campaign_whose_people_are_all_gone_is_completed() -> None:
    assert ended(a_campaign(4), Gone("blocked")).state == CampaignState.COMPLETED


def test_the_admins_are_told_when_nobody_is_in_the_audience() -> None:
    campaign = Campaign.objects.create(sender=a_sender(), content={"text": "hi"}, name="Spring")
    lifecycle.start(campaign.pk)

    assert preparing.freeze(campaign.pk, until=lambda: False)

    assert told() == [f"Campaign {campaign.pk} (Spring) is failed: nobody in its audience can be written to"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("death", [Killed(), OperationalError("database is locked")])
def test_a_campaign_stops_and_its_admins_are_told_or_neither(
    death: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = a_campaign(3)

    def submit(*_: object, **__: object) -> None:
        raise death

    monkeypatch.setattr(submission, "submit", submit)
    with pytest.raises(type(death)):
        lifecycle.stop(campaign.pk, "for a test")

    assert lifecycle.get(campaign.pk).state == CampaignState.RUNNING
