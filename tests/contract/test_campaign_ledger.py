"""The campaign ledger on three databases: freeze, lease, claim, record, recover."""

from collections import Counter

import pytest
from django.db.models import QuerySet
from django.db.models.functions import Now

from longwave.campaigns import leases, ledger
from longwave.campaigns.models import (
    Batch,
    Bucket,
    Campaign,
    CampaignState,
    Charted,
    Delivery,
    DeliveryState,
    ErrorTally,
)
from longwave.campaigns.settling import STOPPED, Pending, Settled, release, settle
from longwave.contacts.models import Contact
from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, SenderBroken, Sent, Throttled, Unknown
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("database")
ME, OTHER = "host:1:1:aa:0", "host:2:2:bb:0"


def a_campaign(contacts: int = 5, batch_size: int = 3, **fields: object) -> Campaign:
    sender = Sender.objects.create(channel="memory", name="s", credentials="x")
    Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(1, contacts + 1))
    values = {
        "state": CampaignState.PREPARING,
        "batch_size": batch_size,
        "content": {},
        "name": "c",
        **fields,
    }
    campaign = Campaign.objects.create(sender=sender, **values)
    while ledger.freeze_chunk(campaign, everybody):
        pass
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.RUNNING)
    return Campaign.objects.get(pk=campaign.pk)


def everybody(after: int) -> "QuerySet[Contact]":
    return Contact.objects.filter(channel="memory", pk__gt=after).order_by("pk")


def leased(campaign: Campaign, owner: str = ME) -> tuple[Batch, list[Pending]]:
    batch = leases.lease_batch(campaign, owner, 10.0)
    assert batch is not None
    return batch, ledger.load(batch.pk, personal=False)


def claimed(campaign: Campaign, owner: str = ME) -> tuple[Batch, list[Pending]]:
    batch, rows = leased(campaign, owner)
    assert ledger.claim(batch.pk, owner, rows)
    return batch, rows


def states(campaign: Campaign) -> Counter[str]:
    return Counter(Delivery.objects.filter(campaign=campaign).values_list("state", flat=True))


def end_lease(batch: Batch) -> None:
    assert leases.expire_owner(Batch.objects.get(pk=batch.pk).owner) == 1


def test_freezing_numbers_every_contact_into_batches_once() -> None:
    campaign = a_campaign(contacts=7, batch_size=3)

    assert campaign.recipients == 7
    assert list(Batch.objects.order_by("number").values_list("size", flat=True)) == [3, 3, 1]
    assert [str(n) for n in range(1, 8)] == list(
        Delivery.objects.order_by("pk").values_list("address", flat=True)
    )


def test_freezing_again_adds_nobody() -> None:
    campaign = a_campaign()
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.PREPARING)

    assert ledger.freeze_chunk(campaign, everybody) == 0
    assert Delivery.objects.count() == 5


def test_nothing_is_frozen_for_a_campaign_that_is_not_preparing() -> None:
    campaign = a_campaign(contacts=0)
    Contact.objects.create(channel="memory", address="9")

    assert ledger.freeze_chunk(campaign, everybody) is None
    assert Delivery.objects.count() == 0


def test_a_batch_is_leased_by_one_lane_only() -> None:
    campaign = a_campaign()

    numbers = [
        batch.number if (batch := leases.lease_batch(campaign, o, 10.0)) else None for o in (ME, OTHER, ME)
    ]

    assert numbers == [1, 2, None]


def test_claiming_marks_rows_sending_and_counts_the_attempt() -> None:
    campaign = a_campaign()
    claimed(campaign)

    assert states(campaign) == {"sending": 3, "pending": 2}
    assert set(Delivery.objects.filter(state="sending").values_list("attempt", flat=True)) == {1}


def test_a_delivery_that_was_claimed_more_often_than_its_column_counts_is_claimed_and_settled() -> None:
    campaign = a_campaign()
    Delivery.objects.update(attempt=2**15 - 1)
    _, rows = claimed(campaign)

    ledger.record(campaign.pk, [settle(row, Sent("1")) for row in rows])

    assert states(campaign) == {"sent": 3, "pending": 2}
    assert Batch.objects.get(number=1).sent == 3


def test_a_claim_without_the_lease_changes_nothing() -> None:
    campaign = a_campaign()
    batch, rows = leased(campaign)
    end_lease(batch)

    assert not ledger.claim(batch.pk, ME, rows)
    assert states(campaign) == {"pending": 5}


def test_outcomes_are_written_with_counters_buckets_and_tallies() -> None:
    campaign = a_campaign()
    batch, rows = claimed(campaign)
    outcomes = [Sent("77"), Gone("blocked"), Rejected("bad")]

    ledger.record(campaign.pk, [settle(row, o) for row, o in zip(rows, outcomes, strict=True)])

    batch.refresh_from_db()
    assert (batch.sent, batch.gone, batch.rejected) == (1, 1, 1)
    assert Delivery.objects.get(state="sent").message_id == "77"
    assert {b.outcome: b.count for b in Bucket.objects.all()} == {"sent": 1, "gone": 1, "rejected": 1}
    assert {(t.outcome, t.text): t.count for t in ErrorTally.objects.all()} == {
        ("gone", "blocked"): 1,
        ("rejected", "bad"): 1,
    }
    assert Contact.objects.get(address=rows[1].address).status == "gone"


def test_charts_tell_a_provider_that_never_answered_from_a_worker_that_died() -> None:
    campaign = a_campaign(contacts=6)
    _, rows = claimed(campaign)
    ledger.record(campaign.pk, [settle(rows[0], Unknown("no answer in time")), settle(rows[1], STOPPED)])
    Batch.objects.filter(state="leased").update(lease_until=Now())
    leased(campaign, OTHER)

    assert {b.outcome: b.count for b in Bucket.objects.all()} == {"unknown": 1, "orphaned": 2}
    assert Batch.objects.get(number=1).unknown == 3


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (Retry("502"), "retried"),
        (Retry("upgraded", address="-1007"), "moved"),
        (Throttled(3.0), "throttled"),
        (SenderBroken("revoked"), None),
    ],
)
def test_what_is_tried_again_is_charted_and_no_outcome(outcome: Outcome, label: str | None) -> None:
    campaign = a_campaign(contacts=1)
    batch, rows = claimed(campaign)

    ledger.record(campaign.pk, [settle(rows[0], outcome)])

    assert {b.outcome: b.count for b in Bucket.objects.all()} == ({label: 1} if label else {})
    batch.refresh_from_db()
    assert sum(getattr(batch, name) for name in ledger.COUNTED) == 0


def test_recording_twice_counts_once() -> None:
    campaign = a_campaign()
    batch, rows = claimed(campaign)
    settled = [settle(row, Sent("1")) for row in rows]

    ledger.record(campaign.pk, settled)
    ledger.record(campaign.pk, settled)

    batch.refresh_from_db()
    assert batch.sent == 3
    assert Bucket.objects.get(outcome="sent").count == 3


def test_a_dead_lanes_rows_become_unknown_when_its_batch_is_taken_over() -> None:
    campaign = a_campaign(contacts=3)
    batch, _ = claimed(campaign)
    end_lease(batch)

    taken, rows = leased(campaign, OTHER)

    assert taken.pk == batch.pk
    assert rows == []
    assert states(campaign) == {"unknown": 3}
    assert Batch.objects.get(pk=batch.pk).unknown == 3


def test_with_the_policy_resend_a_dead_lanes_rows_are_sent_again() -> None:
    campaign = a_campaign(contacts=3, on_unknown="resend")
    batch, _ = claimed(campaign)
    end_lease(batch)

    _, rows = leased(campaign, OTHER)

    assert len(rows) == 3
    assert states(campaign) == {"pending": 3}
    assert {b.outcome: b.count for b in Bucket.objects.all()} == {"orphaned": 3}  # perhaps charged


def test_a_late_outcome_turns_unknown_into_what_it_was() -> None:
    campaign = a_campaign(contacts=3)
    batch, rows = claimed(campaign)
    end_lease(batch)
    leased(campaign, OTHER)

    ledger.record(campaign.pk, [settle(row, Sent("5")) for row in rows])

    assert states(campaign) == {"sent": 3}
    batch.refresh_from_db()
    assert (batch.sent, batch.unknown) == (3, 0)


def test_a_late_outcome_of_an_older_attempt_is_not_taken_for_the_newer_one() -> None:
    campaign = a_campaign(contacts=1, on_unknown="resend")
    batch, rows = claimed(campaign)
    end_lease(batch)
    claimed(campaign, OTHER)

    ledger.record(campaign.pk, [settle(rows[0], Rejected("late"))])

    assert states(campaign) == {"sending": 1}


def test_rows_given_back_late_to_a_finished_batch_open_it_again() -> None:
    campaign = a_campaign(contacts=3)
    batch, rows = claimed(campaign)
    end_lease(batch)
    leased(campaign, OTHER)
    leases.close_batch(campaign, batch.pk, OTHER)
    assert Batch.objects.get(pk=batch.pk).state == "done"

    ledger.record(campaign.pk, [release(row) for row in rows])

    assert Batch.objects.get(pk=batch.pk).state == "open"
    assert states(campaign) == {"pending": 3}


def test_rows_given_back_late_to_a_completed_campaign_stay_unknown() -> None:
    campaign = a_campaign(contacts=3)
    batch, rows = claimed(campaign)
    end_lease(batch)
    leased(campaign, OTHER)
    leases.close_batch(campaign, batch.pk, OTHER)
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.COMPLETED)

    ledger.record(campaign.pk, [release(row) for row in rows])

    assert states(campaign) == {"unknown": 3}


def test_a_passing_fault_makes_the_batch_due_when_its_retry_is() -> None:
    campaign = a_campaign(contacts=1)
    batch, rows = claimed(campaign)

    ledger.record(campaign.pk, [settle(rows[0], Retry("502"))])
    leases.close_batch(campaign, batch.pk, ME)

    batch.refresh_from_db()
    assert batch.state == "open"
    assert batch.due_at is not None
    assert leases.lease_batch(campaign, ME, 10.0) is None
    assert Delivery.objects.get().tries == 1


def test_a_moved_contact_is_written_to_at_its_new_address_at_once() -> None:
    campaign = a_campaign(contacts=1)
    batch, rows = claimed(campaign)

    ledger.record(campaign.pk, [settle(rows[0], Retry("upgraded", address="-100500"))])
    leases.close_batch(campaign, batch.pk, ME)
    _, again = leased(campaign)

    assert [row.address for row in again] == ["-100500"]
    assert Contact.objects.get().address == "-100500"


def test_closing_a_batch_with_rows_that_did_not_leave_opens_it_for_others() -> None:
    campaign = a_campaign(contacts=3)
    batch, rows = claimed(campaign)
    ledger.record(campaign.pk, [settle(rows[0], Sent("1")), release(rows[1]), release(rows[2])])

    leases.close_batch(campaign, batch.pk, ME)

    _, again = leased(campaign, OTHER)
    assert [row.id for row in again] == [rows[1].id, rows[2].id]


def test_a_batch_is_done_when_every_row_has_its_outcome() -> None:
    campaign = a_campaign(contacts=3)
    batch, rows = claimed(campaign)
    ledger.record(
        campaign.pk,
        [settle(row, o) for row, o in zip(rows, (Sent("1"), Gone("x"), Unknown("y")), strict=True)],
    )

    assert leases.close_batch(campaign, batch.pk, ME)

    batch.refresh_from_db()
    assert (batch.state, batch.sent, batch.gone, batch.unknown) == ("done", 1, 1, 1)


def test_a_lease_that_is_not_ours_can_be_neither_renewed_nor_closed() -> None:
    campaign = a_campaign(contacts=3)
    batch, _ = leased(campaign)

    assert leases.renew([batch.pk], OTHER, 10.0) == 0
    assert not leases.close_batch(campaign, batch.pk, OTHER)
    assert leases.renew([batch.pk], ME, 10.0) == 1


def test_error_texts_beyond_the_limit_are_counted_together() -> None:
    campaign = a_campaign(contacts=80, batch_size=100)
    _, rows = claimed(campaign)

    for row in rows:
        ledger.record(campaign.pk, [settle(row, Rejected(f"error {row.id}"))])

    assert ErrorTally.objects.count() == ledger.ERROR_TEXTS_KEPT + 1
    assert ErrorTally.objects.get(text=ledger.OTHER_ERRORS).count == 80 - ledger.ERROR_TEXTS_KEPT


def test_personal_rows_carry_the_contacts_fields() -> None:
    campaign = a_campaign(contacts=1)
    Contact.objects.update(attributes={"name": "Ada", "n": 3}, language="fa", timezone="Asia/Tehran")
    batch = leases.lease_batch(campaign, ME, 10.0)
    assert batch is not None

    (row,) = ledger.load(batch.pk, personal=True)

    assert row.fields == {"name": "Ada", "n": 3, "address": "1", "language": "fa", "timezone": "Asia/Tehran"}


def test_held_time_is_added_to_the_campaign() -> None:
    campaign = a_campaign(contacts=1)
    batch, rows = claimed(campaign)

    ledger.record(campaign.pk, [release(rows[0])], held_seconds=2.5)

    batch.refresh_from_db()
    assert batch.held_ms == 2500


def test_a_held_lane_with_nothing_to_record_still_counts_the_time() -> None:
    campaign = a_campaign(contacts=1)
    leased(campaign)

    ledger.record(campaign.pk, [], held_seconds=1.0)

    assert Batch.objects.get().held_ms == 1000


def test_a_retry_that_is_due_is_loaded() -> None:
    campaign = a_campaign(contacts=2)
    Delivery.objects.update(retry_at=Now())

    _, rows = leased(campaign)

    assert len(rows) == 2


def test_settled_lines_name_the_claim_they_belong_to() -> None:
    row = Pending(id=1, batch_id=2, contact_id=3, address="4", attempt=5, tries=0)

    assert settle(row, Sent("m")) == Settled(
        1, 2, 3, 6, DeliveryState.SENT, message_id="m", label=Charted.SENT
    )
