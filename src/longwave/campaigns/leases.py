"""Who works on a batch, and until when: lease it, hold it, give it back, take it over from the dead."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Min, Q, QuerySet
from django.db.models.functions import Now

from longwave.campaigns import ledger
from longwave.campaigns.models import (
    Batch,
    BatchState,
    Campaign,
    CampaignState,
    Charted,
    Delivery,
    DeliveryState,
)
from longwave.campaigns.settling import Answered
from longwave.jobs import deserted, measures

LOOKED_AT = 10
"""Batches that are tried to be leased: more than lanes of a campaign, whose own may be among the first."""


def available(campaign_id: int) -> "QuerySet[Batch]":
    """Batches that a lane may lease now: open and due, or leased by somebody whose lease ran out."""
    is_due = Q(due_at=None) | Q(due_at__lte=Now())
    is_open = Q(state=BatchState.OPEN) & is_due
    is_orphan = Q(state=BatchState.LEASED, lease_until__lt=Now())
    return Batch.objects.filter(Q(campaign_id=campaign_id) & (is_open | is_orphan)).order_by("number")


def lease_batch(campaign: Campaign, owner: str, seconds: float) -> Batch | None:
    """Lease the next batch for `seconds`; None when there is none to lease now.

    Taking over from a lane that died turns its `sending` rows into `unknown`, or back into `pending` where the
    campaign's policy is to resend, in the same transaction.
    """
    for batch in available(campaign.pk)[:LOOKED_AT]:
        if batch.state == BatchState.LEASED and _is_held(batch, owner):
            continue
        if _take_lease(campaign, batch, owner, seconds):
            return batch
    return None


def _is_held(batch: Batch, owner: str) -> bool:
    """Whether the lane whose lease ran out may be alive: then it was the database's clock that was set ahead.

    It goes on sending by its own clock. The beat knows better than we do whether its job's worker died.
    """
    return batch.owner != owner and deserted.is_running_for(batch.owner.rpartition(":")[0])


def _take_lease(campaign: Campaign, batch: Batch, owner: str, seconds: float) -> bool:
    with transaction.atomic():
        taken = available(campaign.pk).filter(pk=batch.pk, owner=batch.owner).order_by()
        lease_until = Now() + _seconds(seconds)
        if not taken.update(state=BatchState.LEASED, owner=owner, lease_until=lease_until, due_at=None):
            return False
        if batch.state == BatchState.LEASED:
            orphan(campaign, batch.pk)
    return True


def orphan(campaign: Campaign, batch_id: int) -> int:
    """The rows a dead lane left `sending`: named unknown, or sent again, as the campaign's policy says.

    A cancelled campaign sends nothing again: called `cancelled`, they would pass for people who surely got nothing.
    """
    rows = Delivery.objects.filter(batch_id=batch_id, state=DeliveryState.SENDING)
    if campaign.on_unknown == "resend" and campaign.state != CampaignState.CANCELLED:
        count = rows.update(state=DeliveryState.PENDING, retry_at=None)
        _chart_orphaned(campaign, count)  # they may have been paid for
        return count
    count = rows.update(
        state=DeliveryState.UNKNOWN, outcome_at=Now(), error="the worker died while it was being sent"
    )
    if count:
        ledger.recount(batch_id)
        _chart_orphaned(campaign, count)
    return count


def _chart_orphaned(campaign: Campaign, count: int) -> None:
    counts = {str(Charted.ORPHANED): count}
    ledger.add_buckets(campaign.pk, counts)
    if count and measures.is_observed(Answered):
        value = Answered(campaign.sender.channel, counts)
        transaction.on_commit(lambda: measures.tell(value), robust=True)


def renew(batch_ids: Sequence[int], owner: str, seconds: float) -> int:
    """Prolong leases; how many of them were still ours."""
    mine = Batch.objects.filter(pk__in=batch_ids, owner=owner, state=BatchState.LEASED)
    return mine.update(lease_until=Now() + _seconds(seconds))


def close_batch(campaign: Campaign, batch_id: int, owner: str) -> bool:
    """Give a batch back: done when every row has its outcome, else open again, due when its next retry is."""
    with transaction.atomic():
        batch = (
            Batch.objects.select_for_update()
            .filter(pk=batch_id, owner=owner, state=BatchState.LEASED)
            .first()
        )
        if batch is None:
            return False
        orphan(campaign, batch_id)  # rows of an even older lane, claimed as its lease ran out
        counts = ledger.count_states(batch_id)
        is_done = not counts.get(DeliveryState.PENDING)
        Batch.objects.filter(pk=batch_id).update(
            state=BatchState.DONE if is_done else BatchState.OPEN,
            owner="",
            lease_until=None,
            due_at=None if is_done else _next_due(batch_id),
            **{name: counts.get(name, 0) for name in ledger.COUNTED},
        )
    return True


def _next_due(batch_id: int) -> datetime | None:
    """When the soonest retry of a batch is due; None when it has rows to send now."""
    pending = Delivery.objects.filter(batch_id=batch_id, state=DeliveryState.PENDING)
    if pending.filter(Q(retry_at=None) | Q(retry_at__lte=Now())).exists():
        return None
    soonest: datetime | None = pending.aggregate(due=Min("retry_at"))["due"]
    return soonest


def expire_owner(prefix: str) -> int:
    """End the leases of a worker that is known to be dead, so that its batches can be taken over at once."""
    leased = Batch.objects.filter(state=BatchState.LEASED, owner__startswith=prefix)
    return leased.update(lease_until=Now() - _seconds(1))


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
