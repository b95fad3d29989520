"""Failed jobs, which stay with their arguments, error and traceback: found, run again, forgotten."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from longwave import database
from longwave.core.errors import Conflict, NotFound
from longwave.jobs import doorbells, ledger, moves, ring
from longwave.jobs.models import Job, JobSpan, Status
from longwave.jobs.states import JOB

CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which failed jobs are meant: those that all of it is true of. grep: a part of the error, in any case."""

    ids: tuple[int, ...] = ()
    queue: str = ""
    name: str = ""
    since: datetime | None = None
    grep: str = ""


@dataclass(frozen=True, slots=True)
class Rerun:
    """What became of a wish to run jobs again.

    queued: how many are. refused: the others, and beside each the unfinished job that has its dedupe key.
    """

    queued: int
    refused: dict[int, int] = field(default_factory=dict)


def find(wanted: Wanted, limit: int) -> list[Job]:
    """The latest `limit` of them, without tracebacks."""
    return list(_matching(wanted).order_by("-finished_at").defer("traceback", "checkpoint")[:limit])


def count(wanted: Wanted) -> int:
    """How many there are."""
    return _matching(wanted).count()


def rerun(wanted: Wanted) -> Rerun:
    """Queue them again, as if they had just been submitted. Raises NotFound or Conflict for a job by id that has not
    failed, and then has queued none.

    What they were waited for with has been cancelled, and is not brought back.
    """
    _check(wanted.ids)
    queued, refused = 0, dict[int, int]()
    for ids in _in_chunks(wanted, refused):
        refused |= _requeue(ids)
        bells = doorbells.still_queued(ids)
        # In a caller's transaction they are failed for everybody else until its commit.
        transaction.on_commit(partial(ring.ring_all, bells), robust=True)
        queued += len(bells)
    return Rerun(queued, refused)


def forget(wanted: Wanted) -> int:
    """Delete them; how many. Raises NotFound or Conflict for a job by id that has not failed, and then has deleted
    none.
    """
    _check(wanted.ids)
    return sum(_delete(ids) for ids in _in_chunks(wanted))


def _requeue(ids: Sequence[int]) -> dict[int, int]:
    """failure → queued for those of the jobs that have failed; who was refused, and because of whom."""
    failed = Job.objects.filter(pk__in=ids, status__in=JOB.sources("rerun"))
    failed.filter(dedupe_key=None).update(**_anew())
    with_a_key = failed.exclude(dedupe_key=None).order_by("pk").values_list("pk", "dedupe_key")
    refusals = {job_id: _take_back(job_id, key) for job_id, key in list(with_a_key)}
    return {job_id: holder for job_id, holder in refusals.items() if holder is not None}


def _take_back(job_id: int, key: str | None) -> int | None:
    """failure → queued for a job that has a dedupe key; None, or the unfinished job that has the key now."""
    failed = Job.objects.filter(pk=job_id, status__in=JOB.sources("rerun"))
    while True:
        try:
            with transaction.atomic():
                failed.update(dedupe_slot=F("dedupe_key"), **_anew())
            return None
        except IntegrityError:
            holder = Job.objects.filter(dedupe_slot=key).values_list("pk", flat=True).first()
            if holder is not None:
                return holder
            # It has ended meanwhile.


def _anew() -> dict[str, Any]:
    return {
        "status": JOB.target("rerun", Status.FAILURE),
        "failures": 0,
        "crashes": 0,
        "finished_at": None,
        "run_at": None,
        "cancel_reason": "",
        "progress": None,
        "error": "",
        "traceback": "",
        **moves.queued(),
    }


def _delete(ids: Sequence[int]) -> int:
    """Delete those of the jobs that have failed; how many."""
    forgotten = Job.objects.filter(pk__in=ids, status=Status.FAILURE).delete()[0]
    JobSpan.objects.filter(~Exists(Job.objects.filter(pk=OuterRef("job_id"))), job_id__in=ids).delete()
    return forgotten


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


def _in_chunks(wanted: Wanted, but: Collection[int] = ()) -> Iterator[list[int]]:
    """The ids of those that failed until now, the oldest first: what fails again meanwhile is not met twice.

    Whoever gets a chunk sees to it that its jobs are not failed any more, or are in `but` afterwards.
    """
    rows = (
        _matching(wanted)
        .filter(finished_at__lte=database.now())
        .order_by("finished_at")
        .values_list("pk", flat=True)
    )
    while ids := list(rows.exclude(pk__in=but)[:CHUNK]):
        yield ids


def _check(ids: Iterable[int]) -> None:
    """Say what is wrong with the first that has not failed. One that is queued again by now is fine."""
    for job_id in ids:
        row = ledger.look(job_id)
        if row is None:
            raise NotFound(f"There is no job {job_id}; `longwave queue failed` lists those that failed.")
        if row.status not in (Status.FAILURE, Status.QUEUED, Status.RUNNING):
            raise Conflict(f"Job {job_id} has not failed: it is {row.status}.")
