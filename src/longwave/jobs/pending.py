"""Jobs that have not begun: queued when their time has come, or cancelled."""

from collections.abc import Mapping, Sequence

from django.db import transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.functions import Now

from longwave import database
from longwave.jobs import doorbells, moves
from longwave.jobs.doorbells import Bell
from longwave.jobs.models import Job, Status
from longwave.jobs.states import JOB

REASONS = 100
"""Different reasons that are written by one statement."""


def due(limit: int) -> list[Bell]:
    """scheduled, retry → queued for those whose time has come, and that nobody has locked; what to ring for."""
    waiting = Job.objects.filter(run_at__lte=Now(), is_waiting=False)
    ids: list[int] = []
    for status in JOB.sources("due"):  # each by itself, so that an index has them in order
        rows = waiting.filter(status=status).order_by("run_at")
        ids += rows.values_list("pk", flat=True)[: limit - len(ids)]
    if not ids:
        return []
    ready = waiting.filter(status__in=JOB.sources("due"), pk__in=ids)
    with transaction.atomic():
        # Whoever holds a row of these, in a transaction that lasts, must not keep the others and the beat waiting.
        free = ready.filter(pk__in=database.unlocked(ready))
        free.update(status=Status.QUEUED, **moves.queued() | {"ready_at": F("run_at")})
    return doorbells.still_queued(ids)


def make_ready(waiting: QuerySet[Job], ids: Sequence[int]) -> list[Bell]:
    """Those of the jobs that are `waiting` → queued; what to ring for."""
    waiting.filter(pk__in=ids).update(status=Status.QUEUED, **moves.queued())
    return doorbells.still_queued(ids)


def cancel(ids: Sequence[int], reason: str) -> int:
    """scheduled, queued, retry → cancelled; how many were."""
    waiting = Job.objects.filter(pk__in=ids, status__in=JOB.sources("cancel"))
    return waiting.update(
        status=Status.CANCELLED, cancel_reason=moves.storable_reason(reason), **moves.ended()
    )


def cancel_each(reasons: Mapping[int, str]) -> None:
    """As `cancel`, each job with a reason of its own."""
    groups: dict[str, list[int]] = {}
    for job_id, reason in reasons.items():
        groups.setdefault(moves.storable_reason(reason), []).append(job_id)
    while groups:
        some = [groups.popitem() for _ in range(min(REASONS, len(groups)))]
        ids = [job_id for _, group in some for job_id in group]
        told = Case(*(When(pk__in=group, then=Value(reason)) for reason, group in some))
        waiting = Job.objects.filter(pk__in=ids, status__in=JOB.sources("cancel"))
        waiting.update(status=Status.CANCELLED, cancel_reason=told, **moves.ended())
