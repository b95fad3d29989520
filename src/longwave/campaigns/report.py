"""What became of a campaign: live progress from its batches, and the full report afterwards."""

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from django.db.models import Count, Q, Sum

from longwave import database
from longwave.campaigns import pricing
from longwave.campaigns.ledger import BUCKET_SECONDS, COUNTED
from longwave.campaigns.models import (
    Batch,
    BatchState,
    Bucket,
    Campaign,
    CampaignState,
    Charted,
    Delivery,
    ErrorTally,
)
from longwave.pacing import ledger as pacing


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a campaign stands, from at most a few thousand batch rows: no delivery is read.

    counts: deliveries by outcome. rate: messages a second over the latest full bucket. held_until: unix time, or None.
    """

    state: str
    reason: str
    recipients: int
    counts: dict[str, int]
    batches: dict[str, int]
    rate: float
    eta_seconds: float | None
    held_until: float | None
    held_reason: str

    @property
    def settled(self) -> int:
        """Deliveries that have their outcome."""
        return sum(self.counts.values())

    @property
    def pending(self) -> int:
        """Deliveries still to come."""
        return self.recipients - self.settled


def progress(campaign: Campaign) -> Progress:
    """Where it stands now."""
    sums = Batch.objects.filter(campaign=campaign).aggregate(
        **{name: Sum(name, default=0) for name in COUNTED},
        **{f"batches_{state}": Count("pk", filter=Q(state=state)) for state in BatchState.values},
    )
    counts = {name: sums[name] for name in COUNTED}
    rate = _current_rate(campaign)
    pending = campaign.recipients - sum(counts.values())
    hold = pacing.state(f"sender:{campaign.sender_id}")
    is_held = hold.held_until_us > hold.now_us
    return Progress(
        state=campaign.state,
        reason=campaign.reason,
        recipients=campaign.recipients,
        counts=counts,
        batches={state: sums[f"batches_{state}"] for state in BatchState.values},
        rate=rate,
        eta_seconds=_eta(campaign, pending, rate),
        held_until=hold.held_until_us / 1e6 if is_held else None,
        held_reason=hold.held_reason if is_held else "",
    )


def _current_rate(campaign: Campaign) -> float:
    """Messages a second over the last ten to twenty seconds of sending."""
    now = database.now().timestamp()
    current = int(now) // BUCKET_SECONDS
    buckets = Bucket.objects.filter(campaign=campaign, outcome="sent", at__in=(current - 1, current))
    recent = dict(buckets.values_list("at", "count"))
    if not recent:
        return 0.0
    began = max(min(recent) * BUCKET_SECONDS, campaign.state_at.timestamp())
    return sum(recent.values()) / max(1.0, now - began)


def _eta(campaign: Campaign, pending: int, rate: float) -> float | None:
    limit = pricing.effective_rate(campaign)
    best = rate or limit
    return pending / best if best and pending > 0 else None


def report(campaign: Campaign) -> dict[str, Any]:
    """Everything about it as one JSON object.

    mean_rate: messages a second over the ten-second stretches in which something was sent: pauses, and waiting for a
    flood's end or for retries, are left out. peak_rate: over the best of these stretches. held_seconds: for how long
    the provider asked to wait. errors: what it met on its way, also where a later try was sent.
    """
    now = progress(campaign)
    return {
        "id": campaign.pk,
        "name": campaign.name,
        "kind": campaign.kind,
        "sender": campaign.sender.name,
        "channel": campaign.sender.channel,
        "list": campaign.contact_list.name if campaign.contact_list else None,
        "content": campaign.content,
        "state": campaign.state,
        "reason": campaign.reason,
        "on_unknown": campaign.on_unknown,
        "rate_limit": pricing.effective_rate(campaign),
        "recipients": campaign.recipients,
        "pending": now.pending,
        **now.counts,
        "rate": round(now.rate, 2),
        "eta_seconds": None if now.eta_seconds is None else round(now.eta_seconds, 1),
        "held_until": now.held_until,
        "held_reason": now.held_reason,
        "scheduled_at": _time(campaign.scheduled_at),
        "created_at": _time(campaign.created_at),
        "started_at": _time(campaign.started_at),
        "finished_at": _time(campaign.finished_at),
        "batches": now.batches,
        "stars_spent": round(pricing.spent(campaign), 1) if campaign.paid else 0.0,
        **_rates(campaign),
        "errors": errors(campaign),
    }


def errors(campaign: Campaign) -> list[dict[str, Any]]:
    """Error texts with how often each was met, commonest first. They stay when the delivery is tried again and sent."""
    rows = ErrorTally.objects.filter(campaign=campaign).order_by("-count", "text")
    return [{"outcome": row.outcome, "text": row.text, "count": row.count} for row in rows]


def batches(campaign: Campaign) -> list[dict[str, Any]]:
    """Every batch with its counters: the grid."""
    fields = ("number", "state", "size", *COUNTED, "held_ms")
    return list(Batch.objects.filter(campaign=campaign).order_by("number").values(*fields))


def chart(campaign: Campaign) -> list[dict[str, Any]]:
    """Outcomes per ten seconds, oldest first."""
    by_time: dict[int, dict[str, Any]] = defaultdict(dict)
    for at, outcome, count in Bucket.objects.filter(campaign=campaign).values_list("at", "outcome", "count"):
        by_time[at][outcome] = count
    return [{"at": at * BUCKET_SECONDS, **by_time[at]} for at in sorted(by_time)]


def _rates(campaign: Campaign) -> dict[str, Any]:
    sent = dict(Bucket.objects.filter(campaign=campaign, outcome=Charted.SENT).values_list("at", "count"))
    held = Batch.objects.filter(campaign=campaign).aggregate(ms=Sum("held_ms", default=0))["ms"]
    mean = sum(sent.values()) / max(1.0, _sending_seconds(campaign, sent)) if sent else 0.0
    return {
        "mean_rate": round(mean, 2),
        "peak_rate": round(max(mean, max(sent.values(), default=0) / BUCKET_SECONDS), 2),
        "held_seconds": held / 1000,
    }


def _sending_seconds(campaign: Campaign, at: Collection[int]) -> float:
    """The length of the ten-second stretches in which something was sent.

    Inexact by design: the first is cut to the start, the last to the end or the pause it is in. Those around an earlier
    pause count whole.
    """
    seconds = float(len(at) * BUCKET_SECONDS)
    ended = campaign.state_at if campaign.state == CampaignState.PAUSED else campaign.finished_at
    if campaign.started_at is not None:
        seconds -= max(0.0, campaign.started_at.timestamp() - min(at) * BUCKET_SECONDS)
    last_end = (max(at) + 1) * BUCKET_SECONDS
    return seconds - max(0.0, last_end - (ended or database.now()).timestamp())


RECEIPT_COLUMNS = ("batch", "address", "state", "message_id", "error", "attempts", "at")


def write_receipts(campaign: Campaign, file: TextIO, state: str | None = None) -> int:
    """Write one CSV line a delivery, batch by batch, in little memory; how many."""
    writer = csv.writer(file)
    writer.writerow(RECEIPT_COLUMNS)
    count = 0
    for row in _receipts(campaign, state):
        writer.writerow(row)
        count += 1
    return count


def _receipts(campaign: Campaign, state: str | None) -> Iterator[tuple[Any, ...]]:
    numbers = Batch.objects.filter(campaign=campaign).order_by("number").values_list("pk", "number")
    for batch_id, number in list(numbers):
        rows = Delivery.objects.filter(batch_id=batch_id).order_by("pk")
        if state is not None:
            rows = rows.filter(state=state)
        fields = ("address", "state", "message_id", "error", "attempt", "outcome_at")
        for address, state_, message_id, error, attempt, at in rows.values_list(*fields):
            yield number, address, state_, message_id or "", error or "", attempt, _time(at) or ""


def _time(value: Any) -> str | None:
    return value.isoformat(timespec="milliseconds") if value is not None else None
