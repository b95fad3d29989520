"""Taking jobs back: one by its number, all of a name, or what waits in a queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from django.db import transaction
from django.db.models import Max, QuerySet

from longwave import database
from longwave.core.errors import Conflict, NotFound
from longwave.jobs import doorbells, endings, leases, ledger, pending, queues, ring, waiting
from longwave.jobs.models import FINISHED, Job, Status
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
    queues.check(queue)
    return _cancel_waiting(_those_until_now(queue, ""), reason, but_not_in=queue)


@dataclass(frozen=True, slots=True)
class Taken:
    """How many jobs were cancelled at once, and how many run, and stop at their next checkpoint."""

    cancelled: int
    running: int


def cancel_all(reason: str, *, queue: str = "", name: str = "") -> Taken:
    """As `cancel`, for all jobs that there are now of this queue, of this name, or of both. Raises InvalidInput."""
    if queue or not name:
        queues.check(queue)
    jobs, reason = _those_until_now(queue, name), reason.strip() or "cancelled"
    cancelled = running = 0
    while True:  # what was claimed, or came back for another try, between the two looks is met by the next
        waited = _cancel_waiting(jobs, reason)
        begun = jobs.filter(status=Status.RUNNING, cancel_reason="").values_list("pk", flat=True)
        asked = [database.untangled(partial(leases.ask_to_stop, job_id, reason)) for job_id in list(begun)]
        if not waited and not any(asked):
            return Taken(cancelled, running)
        cancelled, running = cancelled + waited, running + sum(asked)


def _cancel_waiting(jobs: QuerySet[Job], reason: str, *, but_not_in: str = "") -> int:
    """Cancel those that have not begun; how many. but_not_in: the queue of which nothing is left to be rung for."""
    total = 0
    while ids := _waiting_of(jobs):
        total += database.untangled(partial(pending.cancel, ids, reason))
        waiting.release_all(
            list(Job.objects.filter(pk__in=ids, is_awaited=True).values_list("pk", flat=True))
        )
        heads = doorbells.heads_of(_serial_keys(ids), but_not_in=but_not_in)
        # In a caller's transaction nobody sees before its commit that they are first, and would drop the message.
        transaction.on_commit(partial(ring.ring_all, heads), robust=True)
    return total


def _those_until_now(queue: str, name: str) -> QuerySet[Job]:
    last = Job.objects.aggregate(last=Max("pk"))["last"] or 0
    jobs = Job.objects.filter(pk__lte=last)
    if name:
        jobs = jobs.filter(name=name)
    # Of a queue an index has them in order; of all of them it has not, and none is needed.
    return jobs.filter(queue=queue).order_by("ready_at") if queue else jobs


def _serial_keys(ids: Sequence[int]) -> set[str]:
    keys = Job.objects.filter(pk__in=ids).values_list("serial_key", flat=True)
    return {key for key in keys if key is not None}


def _waiting_of(jobs: QuerySet[Job]) -> list[int]:
    """The first of these that have not begun."""
    for status in JOB.sources("cancel"):  # each by itself, so that an index has them in order
        if ids := list(jobs.filter(status=status).values_list("pk", flat=True)[:CHUNK]):
            return ids
    return []
