"""What keeps campaigns going when nobody rings: chores of the beat, each harmless when done twice."""

from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils import timezone

from longwave.campaigns import lifecycle
from longwave.campaigns.models import Batch, BatchState, Campaign, CampaignState, MissedPolicy
from longwave.core.errors import LongwaveError

MISSED_AFTER = 60.0
"""Seconds after its time at which a schedule counts as missed: nothing was running to keep it."""


def start_due() -> None:
    """Start every scheduled campaign whose time has come, or do what its policy says when it was missed."""
    due = Campaign.objects.filter(state=CampaignState.SCHEDULED, scheduled_at__lte=Now())
    for campaign in due:
        assert campaign.scheduled_at is not None
        late = (timezone.now() - campaign.scheduled_at).total_seconds()
        try:
            _keep_schedule(campaign, late)
        except LongwaveError as error:
            # What was right when it was scheduled is wrong now (a revoked token, a file that is gone).
            lifecycle.miss(campaign.pk, f"could not start as scheduled: {error}")


def _keep_schedule(campaign: Campaign, late: float) -> None:
    if late <= MISSED_AFTER or campaign.missed == MissedPolicy.RUN:
        lifecycle.start(campaign.pk)
    elif campaign.missed == MissedPolicy.SKIP:
        lifecycle.cancel(campaign.pk, f"its time passed {late / 60:.0f} min before anything was running")
    else:
        reason = f"its time passed {late / 60:.0f} min before anything was running; resume or cancel it"
        lifecycle.miss(campaign.pk, reason)


def tend() -> None:
    """Complete what is done, and give every running campaign the lanes it lacks."""
    unfinished = Batch.objects.filter(campaign=OuterRef("pk")).exclude(state=BatchState.DONE)
    running = Campaign.objects.filter(state=CampaignState.RUNNING).select_related("sender")
    for campaign in running.annotate(is_unfinished=Exists(unfinished)):
        if campaign.is_unfinished:
            lifecycle.submit_lanes(campaign)
        else:
            lifecycle.complete(campaign.pk)
    for stuck in Campaign.objects.filter(state=CampaignState.PREPARING):
        lifecycle.submit_prepare(stuck)
