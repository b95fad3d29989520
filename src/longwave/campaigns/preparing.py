"""Freezing an audience: contacts become deliveries, numbered into batches."""

from collections.abc import Callable
from functools import partial

from longwave.campaigns import ledger, lifecycle
from longwave.campaigns.audience import audience_of
from longwave.campaigns.models import CampaignState
from longwave.core.errors import Conflict, InvalidInput


def freeze(campaign_id: int, *, until: Callable[[], bool]) -> bool:
    """Freeze chunk by chunk until `until()` says to stop; True when nothing is left to do here.

    Safe to be called again after a kill at any point, and by two workers at once.
    """
    campaign = lifecycle.get(campaign_id)
    try:
        while frozen := ledger.freeze_chunk(campaign, partial(audience_of, campaign)):
            if until():
                return False
            ledger.make_way()
    except InvalidInput as error:
        # Asked again, it would fail again: a person has to know.
        lifecycle.stop(campaign.pk, f"its audience cannot be frozen: {error}")
        return True
    if frozen is None:
        # Paused or cancelled meanwhile. It may have been resumed since: then there is more to freeze.
        return lifecycle.get(campaign_id).state != CampaignState.PREPARING
    try:
        if lifecycle.get(campaign_id).recipients:
            lifecycle.run(campaign_id)
        else:
            lifecycle.fail(campaign_id, "nobody in its audience can be written to")
    except Conflict:
        # Paused or cancelled meanwhile: whoever resumes it prepares it again.
        return lifecycle.get(campaign_id).state != CampaignState.PREPARING
    return True
