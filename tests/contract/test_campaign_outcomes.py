"""Outcomes that are unusual: moved contacts, hostile words, answers written down twice."""

import pytest
from django.db.models import QuerySet

from longwave.campaigns import clearing, leases, ledger
from longwave.campaigns.models import Batch, Campaign, CampaignState, Delivery, ErrorTally
from longwave.campaigns.settling import Pending, settle
from longwave.contacts.models import Contact
from longwave.core.outcomes import Gone, Rejected, Retry, Sent
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("database")
ME, OTHER = "host:1:1:aa:0", "host:2:2:bb:0"


def a_campaign(*addresses: str, **fields: object) -> Campaign:
    sender = Sender.objects.create(channel="telegram", name="s", credentials="x")
    Contact.objects.bulk_create(Contact(channel="telegram", address=address) for address in addresses)
    campaign = Campaign.objects.create(
        sender=sender, content={}, name="c", state=CampaignState.PREPARING, **fields
    )
    while ledger.freeze_chunk(campaign, everybody):
        pass
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.RUNNING)
    return Campaign.objects.get(pk=campaign.pk)


def everybody(after: int) -> "QuerySet[Contact]":
    return Contact.objects.filter(pk__gt=after).order_by("pk")


def claimed(campaign: Campaign, owner: str = ME) -> tuple[Batch, list[Pending]]:
    batch = leases.lease_batch(campaign, owner, 10.0)
    assert batch is not None
    rows = ledger.load(batch.pk, personal=False)
    assert ledger.claim(batch.pk, owner, rows)
    return batch, rows


def by_address() -> dict[str, str]:
    return dict(Delivery.objects.values_list("address", "state"))


def test_a_group_that_became_one_of_the_other_recipients_does_not_get_it_twice() -> None:
    campaign = a_campaign("-7", "-1007")
    batch, (old, new) = claimed(campaign)
    settled = [settle(old, Retry("upgraded", address="-1007")), settle(new, Sent("1"))]

    ledger.record(campaign.pk, settled)
    ledger.record(campaign.pk, settled)  # the first answer was lost

    batch.refresh_from_db()
    assert by_address() == {"-7": "gone", "-1007": "sent"}
    assert (batch.sent, batch.gone) == (1, 1)


def test_a_group_that_became_a_contact_outside_of_the_audience_gets_it_there() -> None:
    campaign = a_campaign("-7")
    Contact.objects.create(channel="telegram", address="-1007")
    _, (row,) = claimed(campaign)

    ledger.record(campaign.pk, [settle(row, Retry("upgraded", address="-1007"))])

    assert by_address() == {"-1007": "pending"}


@pytest.mark.parametrize("address", ["nonsense", "9" * 30])
def test_an_impossible_new_address_costs_no_other_outcome(address: str) -> None:
    campaign = a_campaign("1", "2")
    _, (first, second) = claimed(campaign)

    ledger.record(campaign.pk, [settle(first, Retry("moved", address=address)), settle(second, Sent("1"))])

    assert by_address() == {"1": "pending", "2": "sent"}


@pytest.mark.parametrize("text", ["a\0b", "half \ud800 a pair", "x" * 300])
def test_no_words_of_a_provider_cost_other_outcomes(text: str) -> None:
    campaign = a_campaign("1", "2", "3")
    _, rows = claimed(campaign)
    outcomes = [Rejected(text), Gone(text), Sent(text)]

    ledger.record(campaign.pk, [settle(row, outcome) for row, outcome in zip(rows, outcomes, strict=True)])

    assert by_address() == {"1": "rejected", "2": "gone", "3": "sent"}


def test_a_passing_fault_written_down_twice_costs_one_try_and_counts_once() -> None:
    campaign = a_campaign("1")
    _, (row,) = claimed(campaign)
    settled = [settle(row, Retry("502"))]

    ledger.record(campaign.pk, settled)
    ledger.record(campaign.pk, settled)

    assert Delivery.objects.get().tries == 1
    assert ErrorTally.objects.get().count == 1


def test_a_refusal_written_down_twice_is_tallied_once() -> None:
    campaign = a_campaign("1")
    _, (row,) = claimed(campaign)
    settled = [settle(row, Rejected("bad"))]

    ledger.record(campaign.pk, settled)
    ledger.record(campaign.pk, settled)

    assert ErrorTally.objects.get().count == 1


def test_after_a_cancel_a_dead_lanes_rows_are_unknown_whatever_the_policy() -> None:
    campaign = a_campaign("1", "2", on_unknown="resend")
    claimed(campaign)
    leases.expire_owner(ME)
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.CANCELLED)

    assert clearing.clear(campaign.pk, until=lambda: False)

    assert by_address() == {"1": "unknown", "2": "unknown"}


def test_a_contact_that_was_deleted_does_not_keep_a_personal_campaign_from_ending() -> None:
    campaign = a_campaign("1", "2")
    Contact.objects.filter(address="1").delete()
    batch = leases.lease_batch(campaign, ME, 10.0)
    assert batch is not None

    rows = ledger.load(batch.pk, personal=True)

    assert [row.address for row in rows] == ["1", "2"]
    assert rows[0].fields == {"address": "1", "language": "", "timezone": ""}
