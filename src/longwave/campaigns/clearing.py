"""After a cancel: what was not sent is marked so, batch by batch, once no lane works on it."""

from collections.abc import Callable

from django.db import transaction

from longwave.campaigns import leases, ledger
from longwave.campaigns.models import Batch, BatchState, Delivery, DeliveryState


def clear(campaign_id: int, *, until: Callable[[], bool]) -> bool:
    """Mark pending deliveries cancelled until `until()` says to stop; whether none is left. Lanes may still hold some.

    Safe to be called again after a kill at any point, and by two workers at once.
    """
    unfinished = Batch.objects.filter(campaign_id=campaign_id).exclude(state=BatchState.DONE)
    for batch_id in list(unfinished.values_list("pk", flat=True)):
        if until():
            return False
        _clear_batch(batch_id)
        ledger.make_way()
    return not unfinished.exists()


def _clear_batch(batch_id: int) -> None:
    with transaction.atomic():
        batch = Batch.objects.select_for_update().select_related("campaign").get(pk=batch_id)
        if batch.state == BatchState.LEASED and not leases.available(batch.campaign_id).filter(pk=batch_id):
            return
        leases.orphan(batch.campaign, batch_id)
        rows = Delivery.objects.filter(batch_id=batch_id, state=DeliveryState.PENDING)
        rows.update(state=DeliveryState.CANCELLED, retry_at=None)
        Batch.objects.filter(pk=batch_id).update(
            state=BatchState.DONE, owner="", lease_until=None, due_at=None
        )
        ledger.recount(batch_id)
