"""What a lane must know while it sends: whether it may go on, how fast, and when the campaign has to stop itself."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from django.db.models import Sum

from longwave import database
from longwave.campaigns import ledger, lifecycle, outlook, pricing
from longwave.campaigns.ledger import BUCKET_SECONDS
from longwave.campaigns.models import Batch, Bucket, Campaign, CampaignState, Charted, ErrorTally
from longwave.campaigns.tallies import commonest
from longwave.core import breaker
from longwave.core.slots import Rate
from longwave.senders.models import Sender, SenderStatus
from longwave.senders.senders import limits, mark_broken

FAILURES = (Charted.REJECTED, Charted.FAILED, Charted.UNKNOWN)
"""What the failure rate counts. Not what a crash or a stop on our side left unknown."""

FAULTS = (Charted.RETRIED, Charted.FAILED, Charted.UNKNOWN)
"""What says nothing about the message, but that the provider may be away."""

SILENCE_LOOKED_FOR = 60.0
"""Seconds of the past in which a silence is looked for. Not longer: the few whose every try fails, minutes apart, are
the end of a campaign and no silence."""

BUCKETS_READ = 600
"""Chart rows the breaker looks back over: at one outcome a second, twenty times its window."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a lane stops: its turn is over, nothing is left, or somebody said so."""

    kind: Literal["turn", "idle", "stopping", "lost", "state", "broken"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """One look at the campaign and its sender.

    proven: something was delivered, so the content is no nonsense. affordable: deliveries that its budget still pays
    for; None where nothing is charged.
    """

    campaign: Campaign
    limits: tuple[Rate, ...]
    burst_guard: float
    proven: bool
    affordable: int | None

    @classmethod
    def read(cls, campaign_id: int) -> "Control":
        """Look now."""
        campaign = Campaign.objects.select_related("sender").get(pk=campaign_id)
        sent = Batch.objects.filter(campaign_id=campaign_id, sent__gt=0)
        return cls(
            campaign=campaign,
            limits=tuple(
                limits(campaign.sender, "bulk", campaign_id=campaign.pk, campaign_rate=campaign.rate)
            ),
            burst_guard=campaign.sender.burst_guard,
            proven=sent.exists(),
            affordable=pricing.affordable(campaign),
        )

    def halts(self, generation: int) -> Halt | None:
        """Whether a lane of this generation must stop."""
        if self.campaign.state != CampaignState.RUNNING or self.campaign.generation != generation:
            return Halt("state", f"the campaign is {self.campaign.state}")
        if self.campaign.sender.status != SenderStatus.ACTIVE:
            return Halt("broken", self.campaign.sender.status_reason)
        return None

    @staticmethod
    def judge(campaign_id: int) -> None:
        """Pause the campaign, with the reason, when its outcomes say so."""
        campaign = Campaign.objects.select_related("sender").get(pk=campaign_id)
        reason = _why_stop(campaign)
        if reason is not None:
            lifecycle.stop(campaign.pk, reason)


def look_after(campaign: Campaign) -> None:
    """What has to be judged of a running campaign also while no outcome comes in."""
    _judge_silence(campaign)
    if campaign.paid:
        Control.judge(campaign.pk)


def _judge_silence(campaign: Campaign) -> None:
    """Pause a running campaign to whose requests nothing came but faults for a while. Also asked while nothing is sent:
    what met a fault waits for its next try."""
    now = database.now().timestamp()
    newest_first = [
        _stretch(at, counts)
        for at, counts in _newest_first(campaign, since=int(now - SILENCE_LOOKED_FOR) // BUCKET_SECONDS)
        if any(counts.values())
    ]
    if sum(stretch.faults for stretch in newest_first) < breaker.OPENING_ERRORS:
        return
    sent = Batch.objects.filter(campaign=campaign, sent__gt=0)
    seconds = breaker.silent_for(newest_first, now, is_proven=sent.exists())
    if seconds is not None:
        errors = commonest(campaign.pk, FAULTS)
        lifecycle.stop(
            campaign.pk, f"nothing got through for {seconds:.0f} s: {errors}; resume it when that is over"
        )


def break_sender(sender: Sender, reason: str) -> None:
    """The provider refuses the sender itself: it and every campaign that sends through it stop at once."""
    mark_broken(sender.pk, reason)
    stop_broken(sender.pk, reason)


def stop_broken(sender_id: int, reason: str) -> None:
    """Stop what sends through a sender that is refused. Not when it has been mended meanwhile."""
    sender = Sender.objects.filter(pk=sender_id).exclude(status=SenderStatus.ACTIVE).first()
    if sender is None:
        return
    for campaign in Campaign.objects.filter(sender=sender, state=CampaignState.RUNNING):
        lifecycle.stop(campaign.pk, f"sender {sender.name} is refused: {reason}")


def _why_stop(campaign: Campaign) -> str | None:
    refusals = dict(
        ErrorTally.objects.filter(campaign=campaign, outcome=Charted.REJECTED).values_list("text", "count")
    )
    sent = Batch.objects.filter(campaign=campaign).aggregate(n=Sum("sent"))["n"] or 0
    condemned = breaker.condemned_at_opening(sent, refusals)
    newest_first = _newest_first(campaign)
    new_refusals = sum(counts.get(Charted.REJECTED, 0) for _, counts in newest_first)
    if condemned is not None and new_refusals >= breaker.OPENING_ERRORS:
        return f"the first {breaker.OPENING_ERRORS} sends were all refused: {condemned}"
    rate = breaker.verdict([_tally(counts) for _, counts in newest_first], campaign.failure_limit)
    if rate is not None:
        limit = f"{campaign.failure_limit:.0%}"
        return f"{rate:.0%} of the latest sends failed (limit {limit}): {commonest(campaign.pk, FAILURES)}"
    if pricing.affordable(campaign) == 0 and outlook.pending(campaign):
        return pricing.why_spent(campaign)
    return None


def _tally(counts: Mapping[str, int]) -> breaker.Tally:
    failures = sum(counts.get(label, 0) for label in FAILURES)
    return breaker.Tally(failures, failures + counts.get(Charted.SENT, 0))


def _stretch(at: int, counts: Mapping[str, int]) -> breaker.Stretch:
    faults = sum(counts.get(label, 0) for label in FAULTS)
    answers = sum(counts.values()) - faults - counts.get(Charted.ORPHANED, 0)
    return breaker.Stretch(at * BUCKET_SECONDS, faults, answers)


def _newest_first(campaign: Campaign, since: int = 0) -> list[tuple[int, dict[str, int]]]:
    """What the breaker counts, per ten seconds, latest first: `at` and how often each label came.

    After a resume only what came since: what led to the pause has been judged already. since: the earliest `at`. What
    a clock dated ahead before it was set back says nothing of now.
    """
    until, judged = ledger.current_bucket(), campaign.judged
    rows = Bucket.objects.filter(campaign=campaign, at__gte=since, at__lte=until).order_by("-at")
    if judged:
        rows = rows.filter(at__gte=judged["at"])
    by_time: dict[int, dict[str, int]] = defaultdict(dict)
    for row in rows[:BUCKETS_READ]:
        known = judged.get(row.outcome, 0) if judged and row.at == judged["at"] else 0
        by_time[row.at][row.outcome] = row.count - known
    return sorted(by_time.items(), reverse=True)
