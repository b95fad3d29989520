"""What two processes, or a process and a person, do to one campaign at the same moment."""

from collections import Counter

import pytest

from longwave.campaigns import lifecycle, preparing
from longwave.campaigns.models import Batch, Campaign, CampaignState, Delivery
from longwave.contacts.models import Contact
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("database")


def a_draft(contacts: int = 5, batch_size: int = 3, **fields: object) -> Campaign:
    sender = Sender.objects.create(channel="memory", name="s", credentials="x", rate=None)
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
