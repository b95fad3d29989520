"""What the broker is rung with: the jobs that may run now, found and marked."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from longwave import database
from longwave.jobs.models import ACTIVE, Job, PausedQueue, Status


@dataclass(frozen=True, slots=True)
class Bell:
    """What the broker is rung with: a job, and the move into `queued` that is meant."""

    id: int
    seq: int
    name: str
    queue: str


def queues_with_ready_jobs() -> list[str]:
    """The queues that have queued jobs and are not paused."""
    paused = set(PausedQueue.objects.values_list("queue", flat=True))
    return [queue for queue in first_in_line() if queue not in paused]


def first_in_line() -> dict[str, datetime]:
    """Queue → since when its oldest queued job could have run: an index look-up each, however many jobs there are."""
    found: dict[str, datetime] = {}
    queued = Job.objects.filter(status=Status.QUEUED).order_by("queue", "ready_at")
    ahead = queued.values_list("queue", "ready_at")
    first = ahead.first()
    while first is not None:
        found[first[0]] = first[1]
        first = ahead.filter(queue__gt=first[0]).first()
    return found


def unrung(queue: str, limit: int) -> list[Bell]:
    """Queued jobs for which ringing is known to have failed."""
    return bells(_heads().filter(_in(queue), rung_at=None)[:limit])


def rung_before(queue: str, age: float, limit: int) -> list[Bell]:
    """Queued jobs rung more than `age` seconds ago, the oldest first."""
    long_ago = Q(rung_at__lt=Now() - timedelta(seconds=age))
    return bells(_heads().filter(_in(queue), long_ago).order_by("rung_at")[:limit])


def without_locked(found: Sequence[Bell]) -> list[Bell]:
    """Those that no transaction has locked. The others are found again; whoever claimed them now would wait."""
    free = set(database.unlocked(Job.objects.filter(pk__in=[bell.id for bell in found]))) if found else set()
    return [bell for bell in found if bell.id in free]


def all_in(queue: str, chunk: int) -> Iterator[list[Bell]]:
    """Everything that was queued in there when this began, marked as rung, chunk by chunk.

    Jobs behind another of their serial key are marked too, though nobody rings for them now: so nothing is met twice.
    """
    began = database.now()
    queued = Job.objects.filter(_in(queue)).values_list("pk", flat=True)
    for rows in (queued.filter(rung_at__lt=began).order_by("rung_at"), queued.filter(rung_at=None)):
        while ids := list(rows[:chunk]):
            ready = bells(_heads().filter(pk__in=ids, status=Status.QUEUED))
            mark_rung(ids)
            yield ready


def still_queued(ids: Sequence[int]) -> list[Bell]:
    """Those of the jobs that nobody has started."""
    return bells(Job.objects.filter(pk__in=ids, status=Status.QUEUED))


def heads_of(serial_keys: Collection[str], *, but_not_in: str = "") -> list[Bell]:
    """The jobs that are first of these keys and ready to be rung, but for those of one queue; marked as rung."""
    if not serial_keys:
        return []
    heads = _heads().filter(serial_key__in=serial_keys, status=Status.QUEUED)
    found = bells(heads.exclude(queue=but_not_in) if but_not_in else heads)
    mark_rung([bell.id for bell in found])
    return found


def next_in_line(serial_key: str) -> Bell | None:
    """The job that a finished one of the same key makes room for, when it is ready to be rung."""
    head = Job.objects.filter(serial_key=serial_key, status__in=ACTIVE).order_by("pk").first()
    if head is None or head.status != Status.QUEUED:
        return None
    mark_rung([head.pk])
    return Bell(head.pk, head.seq, head.name, head.queue)


def mark_rung(ids: Sequence[int]) -> None:
    """The broker is about to be rung for these."""
    Job.objects.filter(pk__in=ids, status=Status.QUEUED).update(rung_at=Now())


def mark_unrung(ids: Sequence[int]) -> None:
    """The broker could not be rung for these: the sweeper does it as soon as it can.

    Not those behind another of their serial key. Nobody rings for them yet, and they would be in the sweeper's way.
    """
    ready = _heads().filter(pk__in=ids, status=Status.QUEUED).values_list("pk", flat=True)
    Job.objects.filter(pk__in=list(ready), status=Status.QUEUED).update(rung_at=None)


def bells(rows: QuerySet[Job]) -> list[Bell]:
    """The rows as what the broker is rung with."""
    return [Bell(*values) for values in rows.values_list("pk", "seq", "name", "queue")]


def earlier(serial_key: Any, job_id: Any) -> QuerySet[Job]:
    """Unfinished jobs of the key that were submitted before."""
    return Job.objects.filter(serial_key=serial_key, status__in=ACTIVE, pk__lt=job_id)


def unpaused() -> QuerySet[Job]:
    """Without the jobs of queues that are paused."""
    return Job.objects.exclude(queue__in=PausedQueue.objects.values("queue"))


def _in(queue: str) -> Q:
    return Q(status=Status.QUEUED, queue=queue)


def _heads() -> QuerySet[Job]:
    """Without jobs that wait for an earlier one of their serial key: they are rung when that one ends."""
    before = earlier(OuterRef("serial_key"), OuterRef("pk"))
    return Job.objects.filter(Q(serial_key=None) | ~Exists(before))
