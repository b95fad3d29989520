"""Campaigns that do not get on as they should, and why: looked for every few minutes, and told as warnings."""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from django.db.models import Sum
from django.db.models.functions import Now

from longwave import database
from longwave.campaigns import lifecycle, outlook, pricing
from longwave.campaigns.ledger import BUCKET_SECONDS
from longwave.campaigns.models import Batch, BatchState, Bucket, Campaign, CampaignState
from longwave.jobs import explaining, presence
from longwave.jobs.explaining import Listeners
from longwave.jobs.models import Job, Status
from longwave.pacing import ledger as pacing
from longwave.senders.models import SenderStatus
from longwave.senders.senders import limit_key

log = structlog.get_logger("longwave.campaigns")

WINDOW = 300.0
"""Seconds that are looked back over."""

SETTLED_IN = 60.0
"""Seconds that a campaign has to begin, before anything is said of it."""

SLOW = 0.5
"""The part of its rate below which a campaign is slow."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A campaign that is stalled (nothing happened) or slow (less than half of its rate), and the reasons."""

    campaign: int
    name: str
    is_stalled: bool
    rate: float
    expected: float | None
    reasons: list[str]


def monitor() -> list[Trouble]:
    """Look at every campaign on its way, and log a warning for each that is stalled or slow."""
    on_their_way = Campaign.objects.filter(state__in=(CampaignState.PREPARING, CampaignState.RUNNING))
    suspects = [pair for campaign in on_their_way.select_related("sender") if (pair := _measured(campaign))]
    if not suspects:
        return []
    listeners = presence.listeners()  # takes a second, so only when there is something to explain
    found = [_trouble(campaign, rate, listeners) for campaign, rate in suspects]
    for trouble in found:
        log.warning(
            "campaign_stalled" if trouble.is_stalled else "campaign_slow",
            campaign=trouble.campaign,
            campaign_name=trouble.name,
            rate=trouble.rate,
            expected=trouble.expected,
            why=" ".join(trouble.reasons),
        )
    return found


def _measured(campaign: Campaign) -> tuple[Campaign, float] | None:
    """The campaign and its messages a second over the last minutes, when those are too few; else None."""
    now = database.now().timestamp()
    began = max(now - WINDOW, campaign.state_at.timestamp())
    if campaign.state == CampaignState.PREPARING:
        return None if began > now - WINDOW else (campaign, 0.0)
    if now - began < SETTLED_IN or not (left := outlook.pending(campaign)):
        return None
    rate = _answers(campaign, began) * pricing.weight(campaign) / (now - began)
    return None if rate and _is_well(rate, pricing.effective_rate(campaign), left) else (campaign, rate)


def _is_well(rate: float, limit: float | None, left: int) -> bool:
    """Whether that is near enough to the limit. The last few of a campaign wait for their next tries."""
    return limit is None or rate >= limit * SLOW or left < limit * SETTLED_IN


def _answers(campaign: Campaign, began: float) -> int:
    """Deliveries that anything came back to since then."""
    rows = Bucket.objects.filter(campaign=campaign, at__gte=int(began) // BUCKET_SECONDS)
    return int(rows.aggregate(n=Sum("count", default=0))["n"])


def why(campaign: Campaign, listeners: Listeners | None) -> list[str]:
    """What keeps a campaign from its rate, in words, the most decisive first. Empty when nothing is known.

    listeners: queue → the workers that listen to it; None when they could not be asked.
    """
    found = [*_of_sender(campaign), *_of_jobs(campaign, listeners), *_of_others(campaign)]
    return list(dict.fromkeys(found))


def _trouble(campaign: Campaign, rate: float, listeners: Listeners | None) -> Trouble:
    reasons = why(campaign, listeners) or ["No reason is known; the logs of its workers may say more."]
    expected = pricing.effective_rate(campaign)
    return Trouble(campaign.pk, campaign.name, rate == 0, round(rate, 2), expected, reasons)


def _of_sender(campaign: Campaign) -> Iterator[str]:
    sender = campaign.sender
    if sender.status != SenderStatus.ACTIVE:
        yield f"Sender {sender.name} is {sender.status}: {sender.status_reason}."
    hold = pacing.state(limit_key(sender.pk))
    if hold.held_seconds:
        yield f"Sender {sender.name} is held for {hold.held_seconds:.0f} s more: {hold.held_reason}."


def _of_jobs(campaign: Campaign, listeners: Listeners | None) -> Iterator[str]:
    """Why its lanes, or the job that freezes its audience, do not run."""
    prefix = f"{campaign.pk}:{campaign.generation}"
    keys = [f"campaigns.prepare:{prefix}"]
    if campaign.state == CampaignState.RUNNING:
        keys = [f"campaigns.lane:{prefix}:{number}" for number in range(lifecycle.LANES)]
    for row in Job.objects.filter(dedupe_slot__in=keys).order_by("pk"):
        yield from explaining.why(row, listeners)
        if row.status == Status.RETRY and row.error:
            yield f"Its job {row.pk} failed: {row.error.splitlines()[0]}."
    waiting = Batch.objects.filter(campaign=campaign, state=BatchState.OPEN, due_at__gt=Now()).count()
    if waiting:
        yield f"Messages of {waiting} {'batch' if waiting == 1 else 'batches'} wait for their next try."


def _of_others(campaign: Campaign) -> Iterator[str]:
    others = Campaign.objects.filter(sender=campaign.sender_id, state=CampaignState.RUNNING)
    if others := others.exclude(pk=campaign.pk).order_by("pk"):
        numbers = ", ".join(str(other.pk) for other in others[:10])
        yield f"It shares the rate of sender {campaign.sender.name} with campaigns {numbers}."
