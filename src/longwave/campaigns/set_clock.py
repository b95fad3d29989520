"""What a database's clock that was set back leaves in the future: leases of batches, and times of next tries."""

from django.db.models import Q, QuerySet

from longwave.campaigns.models import Batch, BatchState, Delivery, DeliveryState
from longwave.campaigns.recording import LEASE
from longwave.campaigns.settling import BACKOFF
from longwave.jobs import set_clock

LONGEST = max(BACKOFF)
"""Seconds that a delivery waits for its next try, at most."""


@set_clock.mends_the_future
def bring_nearer() -> int:
    """Bring nearer what only a clock that was ahead can have dated; for how many batches and deliveries."""
    return _tries() + _batches()


def _batches() -> int:
    leased = Batch.objects.filter(
        state=BatchState.LEASED, lease_until__gt=set_clock.from_now(LEASE + set_clock.TOLERANCE)
    )
    return leased.update(lease_until=set_clock.from_now(LEASE)) + _waiting().update(
        due_at=set_clock.from_now(LONGEST)
    )


def _tries() -> int:
    """Of batches that wait for them, and of those that a lane has now."""
    late = set_clock.from_now(LONGEST + set_clock.TOLERANCE)
    batches = Batch.objects.filter(Q(state=BatchState.LEASED) | Q(pk__in=_waiting().values("pk")))
    ids = list(batches.values_list("pk", flat=True))
    rows = Delivery.objects.filter(batch_id__in=ids, state=DeliveryState.PENDING, retry_at__gt=late)
    return rows.update(retry_at=set_clock.from_now(LONGEST)) if ids else 0


def _waiting() -> QuerySet[Batch]:
    late = set_clock.from_now(LONGEST + set_clock.TOLERANCE)
    return Batch.objects.filter(state=BatchState.OPEN, due_at__gt=late)
