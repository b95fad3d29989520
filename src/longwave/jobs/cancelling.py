"""Taking jobs back: one by its number, or what waits in a queue."""

from collections.abc import Sequence
from functools import partial

from django.db import transaction
from django.db.models import Max

from longwave import database
from longwave.core.errors import Conflict, InvalidInput, NotFound, Problem
from longwave.jobs import doorbells, endings, leases, ledger, pending, queues, ring, waiting
from longwave.jobs.models import FINISHED, Job
from longwave.jobs.states import JOB

CHUNK = 1000
TRIES = 20
"""Moves that a job can make while it is looked at. More than a few mean that something is wrong."""


def cancel(job_id: int, reason: str) -> bool:
    """Cancel a job that waits, at once, or have a running one stop at its next checkpoint. False: it had ended.

    Raises NotFound for a job that there is not.
    """
    reason = reason.strip() or "cancelled"
    for _ in range(TRIES):
        row = ledger.look(job_id)
        if row is None:
            raise NotFound(f"There is no task {job_id}; those that ended are forgotten after a while.")
        if row.status in FINISHED:
            return False
        if database.untangled(lambda: pending.cancel([job_id], reason)):
            endings.followed(job_id, row.serial_key)
            return True
        if database.untangled(lambda: leases.ask_to_stop(job_id, reason)):
            return True
    raise Conflict(f"Task {job_id} begins and ends its turns faster than it can be cancelled; try again.")


def purge(queue: str, reason: str) -> int:
    """Cancel what is in the queue now and has not begun; how many. Running jobs go on. Raises InvalidInput."""
    if not queues.is_known(queue):
        names = ", ".join(queues.PRIORITIES)
        raise InvalidInput(Problem("queue", queue, f"must be one of {names}, or a region such as email.eu"))
    total, last = 0, _last_id()
    while ids := _waiting_in(queue, CHUNK, last):
        total += database.untangled(partial(pending.cancel, ids, reason))
        waiting.release_all(
            list(Job.objects.filter(pk__in=ids, is_awaited=True).values_list("pk", flat=True))
        )
        heads = doorbells.heads_of(_serial_keys(ids), but_not_in=queue)
        # In a caller's transaction nobody sees before its commit that they are first, and would drop the message.
        transaction.on_commit(partial(ring.ring_all, heads), robust=True)
    return total


def _serial_keys(ids: Sequence[int]) -> set[str]:
    keys = Job.objects.filter(pk__in=ids).values_list("serial_key", flat=True)
    return {key for key in keys if key is not None}


def _waiting_in(queue: str, limit: int, last_id: int) -> list[int]:
    """Jobs of a queue, up to the number `last_id`, that have not begun."""
    waiting = Job.objects.filter(queue=queue, pk__lte=last_id).order_by("ready_at")
    for status in JOB.sources("cancel"):  # each by itself, so that an index has them in order
        if ids := list(waiting.filter(status=status).values_list("pk", flat=True)[:limit]):
            return ids
    return []


def _last_id() -> int:
    """The highest number of a job there is."""
    return Job.objects.aggregate(last=Max("pk"))["last"] or 0
