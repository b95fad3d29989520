"""The verbs of a campaign. Each is one guarded UPDATE: where the campaign stands elsewhere, the verb is refused."""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Coalesce, Now

from longwave.campaigns import checks, leases, ledger, outlook, pricing, uploads
from longwave.campaigns.models import Batch, BatchState, Campaign, CampaignState, Charted, MissedPolicy
from longwave.campaigns.states import CAMPAIGN
from longwave.campaigns.tallies import commonest
from longwave.core.errors import Conflict, InvalidInput, NotFound, Problem
from longwave.core.text import storable
from longwave.jobs.declare import find
from longwave.senders.notify import notify_admins


def get(campaign_id: int) -> Campaign:
    """The campaign of that number. Raises NotFound."""
    campaign = Campaign.objects.select_related("sender", "contact_list").filter(pk=campaign_id).first()
    if campaign is None:
        raise NotFound(f"There is no campaign {campaign_id}. `longwave campaign list` shows those there are.")
    return campaign


def start(campaign_id: int) -> Campaign:
    """Freeze the audience and begin to send. Raises InvalidInput for what is wrong about it."""
    campaign = _refuse_unless_ready("start", campaign_id)
    with transaction.atomic():
        moved = _apply(
            "start",
            campaign_id,
            reason="",
            started_at=Now(),
            generation=F("generation") + 1,
            media=uploads.usable(campaign),
        )
        submit_prepare(moved)
    return moved


def schedule(campaign_id: int, at: datetime, missed: str = MissedPolicy.ASK) -> Campaign:
    """Start at a point in time. `missed` says what to do when that time passed while nothing was running."""
    _refuse_unless_ready("schedule", campaign_id)
    if missed not in MissedPolicy.values:
        raise InvalidInput(Problem("missed", missed, "must be one of " + ", ".join(MissedPolicy.values)))
    try:
        at.astimezone(UTC)
    except OverflowError:  # its offset carries it out of the years 1 to 9999
        raise InvalidInput(Problem("at", str(at), "is no time that UTC has; give another year")) from None
    return _apply("schedule", campaign_id, scheduled_at=at, missed=missed, reason="")


def unschedule(campaign_id: int) -> Campaign:
    """Back to a draft."""
    return _apply("unschedule", campaign_id, scheduled_at=None, reason="")


def miss(campaign_id: int, reason: str) -> Campaign:
    """A schedule whose time passed unseen: wait, paused, for a decision. The admins are told."""
    with transaction.atomic():
        campaign = _apply("miss", campaign_id, reason=reason)
        _tell_admins(campaign)
    return campaign


def run(campaign_id: int) -> Campaign:
    """The audience is frozen: send."""
    with transaction.atomic():
        campaign = _apply("run", campaign_id, reason="", prepared=True)
        submit_lanes(campaign)
    return campaign


def fail(campaign_id: int, reason: str) -> Campaign:
    """Nothing of it could be sent. The admins are told."""
    with transaction.atomic():
        campaign = _apply("fail", campaign_id, reason=reason, finished_at=Now())
        _tell_admins(campaign)
    return campaign


def pause(campaign_id: int, reason: str = "paused by hand") -> Campaign:
    """Hold still. Lanes stop within a quarter of a second; what was claimed but has not left is given back."""
    return _apply("pause", campaign_id, reason=reason)


def stop(campaign_id: int, reason: str) -> bool:
    """Pause for a reason that the engine found and tell the admins: both or neither. False: it had stopped already."""
    try:
        with transaction.atomic():
            _tell_admins(pause(campaign_id, reason))
    except Conflict:
        return False
    return True


def resume(campaign_id: int) -> Campaign:
    """Go on, where it stopped."""
    campaign = get(campaign_id)
    if campaign.sender.status != "active":
        raise Conflict(
            f"Sender {campaign.sender.name} is {campaign.sender.status}: {campaign.sender.status_reason}. "
            f"Mend it, then `longwave sender enable {campaign.sender.name}`."
        )
    with transaction.atomic():
        if campaign.prepared:
            if pricing.affordable(campaign) == 0 and outlook.pending(campaign):
                raise Conflict(f"Cannot resume campaign {campaign_id}: {pricing.why_spent(campaign)}.")
            judged = ledger.bucket_now(campaign_id)
            moved = _apply("resume", campaign_id, reason="", generation=F("generation") + 1, judged=judged)
            submit_lanes(moved)
        else:
            checks.ready_to_start(campaign)
            started = Coalesce(F("started_at"), Now())
            moved = _apply(
                "prepare", campaign_id, reason="", generation=F("generation") + 1, started_at=started
            )
            submit_prepare(moved)
    return moved


def cancel(campaign_id: int, reason: str = "cancelled by hand") -> Campaign:
    """Stop for good. Deliveries that were not sent become `cancelled`; what was sent stays sent."""
    with transaction.atomic():
        campaign = _apply("cancel", campaign_id, reason=reason, finished_at=Now())
        submit_clear(campaign)
    return campaign


def complete(campaign_id: int) -> bool:
    """End it when every batch is done: completed, or failed when nobody is known to have got it.

    Whether it was this call that ended it.
    """
    unfinished = Batch.objects.filter(campaign_id=campaign_id).exclude(state=BatchState.DONE)
    if unfinished.exists():
        return False
    with transaction.atomic():
        # Locked before the second look: whoever opens a batch again holds this row until it can be seen. Not waited
        # for: a bot's own transaction may hold it for long, and the beat asks again in a second.
        mine = Campaign.objects.select_for_update(skip_locked=True)
        running = mine.filter(state__in=CAMPAIGN.sources("complete"))
        if not running.filter(pk=campaign_id).first() or unfinished.exists():
            return False
        reason = _why_hopeless(campaign_id)
        if reason is None:
            _apply("complete", campaign_id, finished_at=Now(), reason="")
        else:
            fail(campaign_id, reason)
    return True


def _why_hopeless(campaign_id: int) -> str | None:
    """What it met, where nobody is known to have got it and somebody should have; else None.

    Whoever is gone is neither, and about those that were skipped somebody has decided.
    """
    counts = {name: Sum(name, default=0) for name in ("sent", "skipped", "unknown", "rejected", "failed")}
    met = Batch.objects.filter(campaign=campaign_id).aggregate(**counts)
    if met["sent"] or met["skipped"] or not (met["unknown"] or met["rejected"] or met["failed"]):
        return None
    what = "is known to have arrived" if met["unknown"] else "could be sent"
    errors = commonest(campaign_id, (Charted.REJECTED, Charted.FAILED, Charted.UNKNOWN, Charted.ORPHANED))
    return f"none of its messages {what}: {errors or 'their worker died'}"


def reopen(campaign_id: int) -> Campaign:
    """A campaign that had ended has deliveries to send again."""
    with transaction.atomic():
        changes = {"finished_at": None, "generation": F("generation") + 1}
        judged = ledger.bucket_now(campaign_id)
        campaign = _apply("reopen", campaign_id, reason="", judged=judged, **changes)
        submit_lanes(campaign)
    return campaign


def set_rate(campaign_id: int, rate: float | None) -> Campaign:
    """Messages a second for this campaign, from now on; None is its sender's rate."""
    campaign = get(campaign_id)
    checks.rate(rate, campaign.sender)
    before = pricing.effective_rate(campaign)
    campaign.rate = rate
    problems = checks.paid_problems(campaign)
    if _is_faster(pricing.effective_rate(campaign), before):
        problems += checks.budget_problems(campaign)
    if problems:
        raise InvalidInput(*problems)
    if campaign.state in (CampaignState.COMPLETED, CampaignState.CANCELLED, CampaignState.FAILED):
        raise Conflict(f"Campaign {campaign_id} is {campaign.state}: its rate cannot matter any more.")
    Campaign.objects.filter(pk=campaign_id).update(rate=rate)
    return get(campaign_id)


def _is_faster(rate: float | None, before: float | None) -> bool:
    return before is not None and (rate is None or rate > before)


def submit_lanes(campaign: Campaign) -> None:
    """Ring for as many lanes as the campaign can use. A lane that is at work already is not doubled.

    A budget is spent by one lane: several would not know of what the others have under way.
    """
    has_budget = campaign.paid and campaign.stars_budget is not None
    wanted = min(1 if has_budget else LANES, leases.available(campaign.pk).count())
    for number in range(wanted):
        find("campaigns.lane").submit(
            campaign_id=campaign.pk,
            number=number,
            generation=campaign.generation,
            job_dedupe_key=f"{campaign.pk}:{campaign.generation}:{number}",
            job_queue=queue_of(campaign),
        )


def queue_of(campaign: Campaign) -> str:
    """Where its lanes run: the queue of its channel, in its sender's region."""
    queue = "email" if campaign.sender.channel == "email" else "broadcast"
    return f"{queue}.{campaign.sender.region}" if campaign.sender.region else queue


ASKED_FOR = ("schedule", "unschedule", "start", "pause", "resume", "cancel")
"""The verbs that people ask for. The others are the engine's own."""

LANES = 4
"""Lanes of one campaign: enough to spread over a few workers and to go on when one dies."""


def submit_clear(campaign: Campaign) -> None:
    """Ring for the job that marks what a cancelled campaign has not sent."""
    find("campaigns.clear").submit(campaign_id=campaign.pk, job_dedupe_key=f"{campaign.pk}")


def submit_prepare(campaign: Campaign) -> None:
    """Ring for the job that freezes the audience."""
    find("campaigns.prepare").submit(
        campaign_id=campaign.pk, job_dedupe_key=f"{campaign.pk}:{campaign.generation}"
    )


def _refuse_unless_ready(verb: str, campaign_id: int) -> Campaign:
    """Raise for what is wrong about the message. Where the verb is refused anyway, that comes first."""
    campaign = get(campaign_id)
    if campaign.state in CAMPAIGN.sources(verb):
        checks.ready_to_start(campaign)
    return campaign


def _tell_admins(campaign: Campaign) -> None:
    """Of the state it came to by itself. In the transaction that brought it there."""
    text = f"Campaign {campaign.pk} ({campaign.name}) is {campaign.state}: {campaign.reason}"
    notify_admins(campaign.sender, text)


def _apply(verb: str, campaign_id: int, **changes: Any) -> Campaign:
    sources = CAMPAIGN.sources(verb)
    target = CAMPAIGN.target(verb, sources[0])
    moved = Campaign.objects.filter(pk=campaign_id, state__in=sources)
    if "reason" in changes:  # others' words: what cannot be stored must not keep it from stopping
        changes["reason"] = storable(changes["reason"])
    if not moved.update(state=target, state_at=Now(), **changes):
        raise Conflict(_refusal(verb, get(campaign_id)))
    return get(campaign_id)


def _refusal(verb: str, campaign: Campaign) -> str:
    asked = "resume" if verb == "prepare" else verb  # what a person typed
    stands = "a draft" if campaign.state == CampaignState.DRAFT else campaign.state
    allowed = ", ".join(verb for verb in CAMPAIGN.verbs(CampaignState(campaign.state)) if verb in ASKED_FOR)
    then = (
        f"What can be done now: {allowed}."
        if allowed
        else "It has ended; `longwave campaign create` makes another."
    )
    return f"Cannot {asked} campaign {campaign.pk}: it is {stands}. {then}"
