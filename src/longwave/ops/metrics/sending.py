"""The senders, and the campaigns that are on their way."""

from collections.abc import Iterator, Sequence

from django.db.models import Count, Sum

from longwave import database
from longwave.campaigns.ledger import BUCKET_SECONDS, COUNTED
from longwave.campaigns.models import Batch, Bucket, Campaign, CampaignState, Charted, DeliveryState
from longwave.ops.metrics.figures import Figure, Part, Reading
from longwave.pacing import ledger as pacing
from longwave.senders import senders
from longwave.senders.models import Sender, SenderStatus

SHOWN = 200
"""Senders that have figures of their own: the first by number."""

_FIRST = f"the first {SHOWN} senders have it, in the order they were added"
_BY_SENDER = ("sender",)
_ALIVE = (CampaignState.RUNNING, CampaignState.PAUSED)

SENDERS = Figure("longwave_senders", "Senders by status: active, or broken", ("status",))
LIMIT = Figure(
    "longwave_sender_limit",
    f"Messages a second that a sender may send at most; none for one without a limit; {_FIRST}",
    _BY_SENDER,
)
RATE = Figure(
    "longwave_sender_rate",
    f"Messages a second that a sender's running campaigns sent in the last 10 to 20 seconds; {_FIRST}",
    _BY_SENDER,
)
HELD = Figure(
    "longwave_sender_held_seconds",
    f"For how long the provider still lets a sender wait; 0 when it does not; {_FIRST}",
    _BY_SENDER,
)
BROKEN = Figure(
    "longwave_sender_broken", f"1 while the provider refuses a sender altogether; {_FIRST}", _BY_SENDER
)
CAMPAIGNS = Figure("longwave_campaigns", "Campaigns by state", ("state",))
DELIVERIES = Figure(
    "longwave_live_deliveries",
    "Deliveries of the campaigns that are running or paused now, by what became of them so far",
    ("state",),
)


def _read_senders() -> Iterator[Reading]:
    counts = dict(Sender.objects.values_list("status").annotate(Count("pk")).order_by())
    yield from (Reading(SENDERS, counts.get(status, 0), (status,)) for status in SenderStatus.values)
    shown = list(Sender.objects.order_by("pk").only("pk", "name", "rate", "status")[:SHOWN])
    holds = pacing.states([senders.limit_key(sender.pk) for sender in shown])
    rates = _rates([sender.pk for sender in shown])
    for sender in shown:
        label = (sender.name,)
        if sender.rate:
            yield Reading(LIMIT, sender.rate, label)
        yield Reading(RATE, rates.get(sender.pk, 0.0), label)
        yield Reading(HELD, holds[senders.limit_key(sender.pk)].held_seconds, label)
        yield Reading(BROKEN, float(sender.status == SenderStatus.BROKEN), label)


def _rates(sender_ids: Sequence[int]) -> dict[int, float]:
    now = database.now().timestamp()
    since = int(now) // BUCKET_SECONDS - 1
    running = Campaign.objects.filter(state=CampaignState.RUNNING, sender_id__in=sender_ids)
    sent = Bucket.objects.filter(
        campaign_id__in=list(running.values_list("pk", flat=True)), at__gte=since, outcome=Charted.SENT
    )
    sums = sent.values_list("campaign__sender_id").annotate(Sum("count")).order_by()
    return {sender_id: count / (now - since * BUCKET_SECONDS) for sender_id, count in sums}


def _read_campaigns() -> Iterator[Reading]:
    counts = dict(Campaign.objects.values_list("state").annotate(Count("pk")).order_by())
    yield from (Reading(CAMPAIGNS, counts.get(state, 0), (state,)) for state in CampaignState.values)
    alive = list(Campaign.objects.filter(state__in=_ALIVE).values_list("pk", flat=True))
    batches = Batch.objects.filter(campaign_id__in=alive)
    sums = batches.aggregate(all=Sum("size", default=0), **{name: Sum(name, default=0) for name in COUNTED})
    yield from (Reading(DELIVERIES, sums[name], (name,)) for name in COUNTED)
    pending = sums["all"] - sum(sums[name] for name in COUNTED)
    yield Reading(DELIVERIES, pending, (DeliveryState.PENDING,))


SENDERS_PART = Part("senders", (SENDERS, LIMIT, RATE, HELD, BROKEN), _read_senders)
CAMPAIGNS_PART = Part("campaigns", (CAMPAIGNS, DELIVERIES), _read_campaigns)
