"""Second thoughts about deliveries: send the unknown ones again or let them be, and try the failed ones once more."""

from functools import partial

from django.db import transaction

from longwave import database
from longwave.campaigns import ledger, lifecycle
from longwave.campaigns.models import Batch, BatchState, Campaign, CampaignState, Delivery, DeliveryState
from longwave.campaigns.states import CAMPAIGN
from longwave.core.errors import Conflict

PATIENCE = 10.0
"""Seconds for which a batch is tried again whose rows a lane is just writing to."""

ENDED = CAMPAIGN.sources("reopen")

OPEN_TO_CHANGE = (CampaignState.RUNNING, CampaignState.PAUSED, *ENDED)


def resend_unknown(campaign_id: int) -> int:
    """Send the unknown ones again: a few may get it twice. How many there were."""
    return _change(campaign_id, "unknown", DeliveryState.UNKNOWN, DeliveryState.PENDING)


def skip_unknown(campaign_id: int) -> int:
    """Leave the unknown ones alone for good, as `skipped`. How many there were."""
    return _change(campaign_id, "unknown", DeliveryState.UNKNOWN, DeliveryState.SKIPPED)


def retry_failed(campaign_id: int) -> int:
    """Try again what was refused or failed, with all tries afresh. How many there were."""
    failed = _change(campaign_id, "failed", DeliveryState.FAILED, DeliveryState.PENDING)
    return failed + _change(campaign_id, "rejected", DeliveryState.REJECTED, DeliveryState.PENDING)


def _change(campaign_id: int, counter: str, source: DeliveryState, target: DeliveryState) -> int:
    campaign = lifecycle.get(campaign_id)
    _refuse_unless_open(campaign)
    batches = Batch.objects.filter(campaign=campaign, **{f"{counter}__gt": 0}).values_list("pk", flat=True)
    changed = 0
    for batch_id in list(batches):
        change = partial(_change_batch, campaign_id, batch_id, source, target)
        changed += database.persist(change, give_up_after=PATIENCE)
    now = lifecycle.get(campaign_id)
    if changed and now.state == CampaignState.RUNNING:
        lifecycle.submit_lanes(now)
    return changed


def _refuse_unless_open(campaign: Campaign) -> None:
    if not campaign.prepared:
        stands = "a draft" if campaign.state == CampaignState.DRAFT else campaign.state
        raise Conflict(f"Campaign {campaign.pk} has sent nothing yet: it is {stands}.")
    if campaign.state not in OPEN_TO_CHANGE:
        raise Conflict(
            f"Campaign {campaign.pk} is {campaign.state}: its deliveries cannot be changed any more."
        )


def _change_batch(campaign_id: int, batch_id: int, source: DeliveryState, target: DeliveryState) -> int:
    with transaction.atomic():
        # Locked, so that it is neither completed nor cancelled while its deliveries are opened again.
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        _refuse_unless_open(campaign)
        batch = Batch.objects.select_for_update().get(pk=batch_id)
        rows = Delivery.objects.filter(batch_id=batch_id, state=source)
        changed = rows.update(state=target, tries=0, retry_at=None)
        if target == DeliveryState.PENDING and batch.state != BatchState.LEASED:
            Batch.objects.filter(pk=batch_id).update(state=BatchState.OPEN, due_at=None)
        ledger.recount(batch_id)
        if changed and target == DeliveryState.PENDING and campaign.state in ENDED:
            # With the first batch: killed before the last one, what is open by then is sent all the same.
            lifecycle.reopen(campaign_id)
    return changed
