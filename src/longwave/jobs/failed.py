"""Failed jobs, which stay with their arguments, error and traceback: found, run again, forgotten."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from longwave.core.errors import Conflict, NotFound
from longwave.jobs import ledger, ring
from longwave.jobs.models import Job, Status

CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which failed jobs are meant: those that all of it is true of. grep: a part of the error, in any case."""

    ids: tuple[int, ...] = ()
    queue: str = ""
    name: str = ""
    since: datetime | None = None
    grep: str = ""


def find(wanted: Wanted, limit: int) -> list[Job]:
    """The latest `limit` of them, without tracebacks."""
    return list(_matching(wanted).order_by("-finished_at").defer("traceback", "checkpoint")[:limit])


def count(wanted: Wanted) -> int:
    """How many there are."""
    return _matching(wanted).count()


def rerun(wanted: Wanted) -> int:
    """Queue them again, as if they had just been submitted; how many. Raises NotFound or Conflict for a job by id.

    What they were waited for with has been cancelled, and is not brought back.
    """
    done = 0
    for ids in _in_chunks(wanted):
        bells = ledger.rerun(ids)
        ring.ring_all(bells)
        done += len(bells)
    return _told(wanted, done)


def forget(wanted: Wanted) -> int:
    """Delete them; how many. Raises NotFound or Conflict for a job by id."""
    return _told(wanted, sum(ledger.forget_failed(ids) for ids in _in_chunks(wanted)))


def _matching(wanted: Wanted) -> QuerySet[Job]:
    rows = Job.objects.filter(status=Status.FAILURE)
    if wanted.ids:
        rows = rows.filter(pk__in=wanted.ids)
    if wanted.queue:
        rows = rows.filter(queue=wanted.queue)
    if wanted.name:
        rows = rows.filter(name=wanted.name)
    if wanted.since is not None:
        rows = rows.filter(finished_at__gte=wanted.since)
    return rows.filter(error__icontains=wanted.grep) if wanted.grep else rows


def _in_chunks(wanted: Wanted) -> Iterator[list[int]]:
    """Their ids, chunk by chunk in order of id: what fails again meanwhile is not met twice."""
    last = 0
    while ids := _next(_matching(wanted).filter(pk__gt=last)):
        yield ids
        last = ids[-1]


def _next(rows: QuerySet[Job]) -> list[int]:
    return list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK])


def _told(wanted: Wanted, done: int) -> int:
    if done < len(set(wanted.ids)):
        _complain(wanted.ids)
    return done


def _complain(ids: Iterable[int]) -> None:
    """Say what is wrong with the first of the jobs that was not failed. It may be queued again by now: then nothing."""
    for job_id in ids:
        row = ledger.look(job_id)
        if row is None:
            raise NotFound(f"There is no job {job_id}; `longwave queue failed` lists those that failed.")
        if row.status not in (Status.FAILURE, Status.QUEUED, Status.RUNNING):
            raise Conflict(f"Job {job_id} has not failed: it is {row.status}.")
