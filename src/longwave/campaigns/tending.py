"""What keeps campaigns going when nobody rings: chores of the beat, each harmless when done twice."""

from collections.abc import Callable

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from longwave import database
from longwave.campaigns import control, lifecycle
from longwave.campaigns.models import Batch, BatchState, Campaign, CampaignState, MissedPolicy
from longwave.core.errors import LongwaveError

log = structlog.get_logger("longwave.campaigns")

UNFINISHED = (BatchState.OPEN, BatchState.LEASED)

MISSED_AFTER = 60.0
"""Seconds after its time at which a schedule counts as missed: nothing was running to keep it."""


def start_due() -> None:
    """Start every scheduled campaign whose time has come, or do what its policy says when it was missed."""
    for campaign in _due():
        _each(_start_or_miss, campaign)


def _due() -> "QuerySet[Campaign]":
    return Campaign.objects.filter(state=CampaignState.SCHEDULED, scheduled_at__lte=Now())


@transaction.atomic
def _start_or_miss(campaign: Campaign) -> None:
    # Looked at once more, and held: whoever has withdrawn or moved it meanwhile was told that it will not start.
    # Whoever is about to is not waited for: the others' time has come too, and this one is looked at in a second.
    mine = _due().select_for_update(skip_locked=True).filter(pk=campaign.pk).first()
    if mine is None:
        return
    try:
        _keep_schedule(mine)
    except LongwaveError as error:
        # What was right when it was scheduled is wrong now (a revoked token, a file that is gone).
        lifecycle.miss(campaign.pk, f"could not start as scheduled: {error}")


def _keep_schedule(campaign: Campaign) -> None:
    assert campaign.scheduled_at is not None
    late = (database.now() - campaign.scheduled_at).total_seconds()
    if late <= MISSED_AFTER or campaign.missed == MissedPolicy.RUN:
        lifecycle.start(campaign.pk)
    elif campaign.missed == MissedPolicy.SKIP:
        lifecycle.cancel(campaign.pk, f"its time passed {late / 60:.0f} min before anything was running")
    else:
        reason = f"its time passed {late / 60:.0f} min before anything was running; resume or cancel it"
        lifecycle.miss(campaign.pk, reason)


def tend() -> None:
    """Complete what is done, give every running campaign the lanes it lacks, and the others the job they wait for.

    A campaign whose provider has gone silent, or whose budget is spent, is paused.
    """
    unfinished = Exists(Batch.objects.filter(campaign=OuterRef("pk"), state__in=UNFINISHED))
    running = Campaign.objects.filter(state=CampaignState.RUNNING).select_related("sender")
    for campaign in running.annotate(is_unfinished=unfinished):
        if campaign.is_unfinished:
            _each(lifecycle.submit_lanes, campaign)
        else:
            _each(lambda done: lifecycle.complete(done.pk), campaign)
        _each(control.look_after, campaign)
    for stuck in Campaign.objects.filter(state=CampaignState.PREPARING):
        _each(lifecycle.submit_prepare, stuck)
    for cancelled in Campaign.objects.filter(unfinished, state=CampaignState.CANCELLED):
        _each(lifecycle.submit_clear, cancelled)


def _each(tend_one: Callable[[Campaign], object], campaign: Campaign) -> None:
    """What is wrong with one campaign must not keep the others waiting."""
    try:
        tend_one(campaign)
    except Exception as error:
        if database.is_passing(error):
            raise
        log.exception("campaign_not_tended", campaign=campaign.pk)
