"""Jobs that wait for others (`after`): held back when they are submitted, released or cancelled when those have ended.

Whoever submits marks the jobs that it waits for in the same transaction, and so holds their rows: none of them ends
before the wait is written down. A job without the mark ends without looking here. Between an end and the release a
process may die; the chore finds what it left.
"""

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import structlog
from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from longwave import database
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import doorbells, leases, ledger, moves, pending, ring
from longwave.jobs.chores import chore
from longwave.jobs.ledger import Claim
from longwave.jobs.models import ACTIVE, Job, Status, Wait

log = structlog.get_logger("longwave.jobs")

CHUNK = 1000

AT_ONCE = 5
"""Chunks that are released by whoever ends a job. The rest of a wide fan is left to the chore."""

BUDGET = 1.0
"""Seconds that one turn of the chore may take: the other chores wait meanwhile."""


def hold(jobs: Sequence[tuple[Job, Sequence[int]]]) -> list[Sequence[int]]:
    """Make new rows wait for the jobs named beside them; for each, those it really has to wait for.

    A row whose jobs have all succeeded is left as it is; one of them failed or cancelled, it is cancelled too. Runs in
    the transaction that inserts the rows. Raises InvalidInput for a job that there is not.
    """
    wanted = sorted({job_id for _, after in jobs for job_id in after})
    found = _marked(wanted)
    missing = [job_id for job_id in wanted if job_id not in found]
    if missing:
        remedy = "there is no such task; those that ended are forgotten after a while"
        raise InvalidInput(*(Problem("job_after", job_id, remedy) for job_id in missing))
    return [_held_back(row, [found[job_id] for job_id in sorted(set(after))]) for row, after in jobs]


def note(waits: Sequence[tuple[int, Sequence[int]]]) -> None:
    """Write down who waits for whom: `(job, those it waits for)`."""
    rows = [Wait(job_id=job_id, after_id=after_id) for job_id, after in waits for after_id in after]
    Wait.objects.bulk_create(rows, batch_size=CHUNK)


def waits_for(job_id: int) -> list[int]:
    """The jobs that this one still waits for."""
    return list(Wait.objects.filter(job_id=job_id).order_by("after_id").values_list("after_id", flat=True))


def finish_many(owner: str, ended: Sequence[tuple[Claim, Any]]) -> set[int]:
    """running → success, as `ledger.finish_many`; those that others wait for one by one, and the others go on."""
    lost = ledger.finish_many(owner, ended)
    for held, result in ended if lost else ():
        if held.id in lost and leases.finish_awaited(held, result):
            lost.discard(held.id)
            release(held.id)
    return lost


def release(job_id: int) -> None:
    """The job has ended: those that waited for it alone go on, or are cancelled with it, and those behind them.

    Raises nothing: what could not be done is done by the chore.
    """
    try:
        _release_chunks([job_id], range(AT_ONCE))
    except Exception as error:
        if transaction.get_connection().in_atomic_block:
            raise  # the caller's transaction is lost, and with it the end of the job
        log.warning("waiting_not_released", job=job_id, why=str(error))
        connections.close_all()


def release_all(ids: Sequence[int]) -> None:
    """These jobs have ended: what waited for them goes on, or is cancelled with them, however much that is."""
    _release_chunks(ids, count())


@chore(every=5.0)
def settle() -> int:
    """Release what waits for jobs that ended unseen; how many of those were found."""
    found, deadline = 0, time.monotonic() + BUDGET
    while ended := _ended_with_waits():
        _release_chunks(ended, _until(deadline))
        found += len(ended)
        if time.monotonic() >= deadline:
            break
    return found


def _until(deadline: float) -> Iterator[None]:
    """One turn, and as many more as there is time for."""
    yield
    while time.monotonic() < deadline:
        yield


def _marked(wanted: Sequence[int]) -> dict[int, Job]:
    found: dict[int, Job] = {}
    for start in range(0, len(wanted), CHUNK):
        jobs = Job.objects.filter(pk__in=wanted[start : start + CHUNK])
        # First the mark, which waits for whoever is just ending one of them and then keeps them from it.
        jobs.filter(status__in=ACTIVE).update(is_awaited=True)
        found |= {row.pk: row for row in jobs.only("name", "status", "error", "cancel_reason")}
    return found


def _held_back(row: Job, after: Sequence[Job]) -> Sequence[int]:
    failed = next((job for job in after if job.status in (Status.FAILURE, Status.CANCELLED)), None)
    if failed is not None:
        row.status, row.cancel_reason, row.finished_at = Status.CANCELLED, _because_of(failed), database.now()
        row.dedupe_slot = None
        return []
    unfinished = [job.pk for job in after if job.status in ACTIVE]
    if unfinished:
        row.status, row.is_waiting = Status.SCHEDULED, True
    return unfinished


def _because_of(failed: Job) -> str:
    how = "failed" if failed.status == Status.FAILURE else "was cancelled"
    why = failed.error if failed.status == Status.FAILURE else failed.cancel_reason
    return moves.storable_reason(f"{failed.name} {failed.pk}, which it waited for, {how}: {why}")


def _release_chunks(ids: Sequence[int], turns: Iterable[object]) -> None:
    """Release what waits for these jobs, and for those that are cancelled with them, a chunk a turn."""
    ended = deque(ids)
    for _ in turns:
        if not ended:
            return
        some = [ended.popleft() for _ in range(min(CHUNK, len(ended)))]
        with transaction.atomic():
            is_all, cancelled = _release_chunk(some)
        ended.extend(cancelled)
        ended.extendleft(() if is_all else some)


def _release_chunk(after: Sequence[int]) -> tuple[bool, list[int]]:
    """Release up to a chunk of what waits for these jobs, as far as they have ended.

    Answers with whether that was all, and with the jobs that were cancelled and are waited for.
    """
    ended = _ended(after)
    waits = Wait.objects.filter(after_id__in=list(ended))
    ids = list(waits.order_by("after_id").values_list("job_id", flat=True)[:CHUNK])
    # Locked in order: of two jobs that end at the same moment, the second to come here sees what the first has done.
    waiting = Job.objects.filter(pk__in=ids, status=Status.SCHEDULED, is_waiting=True).order_by("pk")
    rows = dict(waiting.select_for_update().values_list("pk", "serial_key"))
    reasons = {}
    for job_id, after_id in (
        waits.filter(job_id__in=ids).order_by("-after_id").values_list("job_id", "after_id")
    ):
        if job_id in rows and ended[after_id].status != Status.SUCCESS:
            reasons[job_id] = _because_of(ended[after_id])
    waits.filter(job_id__in=ids).delete()
    _let_go([pk for pk in rows if pk not in reasons])
    return len(ids) < CHUNK, _cancel(reasons, {rows[pk] for pk in reasons})


def _ended(ids: Sequence[int]) -> dict[int, Job]:
    """Those of the jobs that have ended; one that there is no more counts as cancelled."""
    found = Job.objects.filter(pk__in=ids).only("name", "status", "error", "cancel_reason").in_bulk()
    gone = {pk: Job(pk=pk, name="task", status=Status.CANCELLED) for pk in ids if pk not in found}
    return {pk: row for pk, row in found.items() if row.status not in ACTIVE} | gone


def _let_go(ids: Sequence[int]) -> None:
    still = set(Wait.objects.filter(job_id__in=ids).values_list("job_id", flat=True))
    free = [pk for pk in ids if pk not in still]
    if not free:
        return
    scheduled = Job.objects.filter(status=Status.SCHEDULED)
    scheduled.filter(pk__in=free).update(is_waiting=False)
    bells = pending.make_ready(scheduled.filter(Q(run_at=None) | Q(run_at__lte=Now())), free)
    transaction.on_commit(lambda: ring.ring_all(bells), robust=True)


def _cancel(reasons: Mapping[int, str], serial_keys: Collection[str | None]) -> list[int]:
    """The cancelled ones that are waited for themselves."""
    if not reasons:
        return []
    pending.cancel_each(reasons)
    Wait.objects.filter(job_id__in=list(reasons)).delete()
    bells = doorbells.heads_of([key for key in serial_keys if key is not None])
    transaction.on_commit(lambda: ring.ring_all(bells), robust=True)
    return list(Job.objects.filter(pk__in=list(reasons), is_awaited=True).values_list("pk", flat=True))


def _ended_with_waits() -> list[int]:
    unfinished = Job.objects.filter(pk=OuterRef("after_id"), status__in=ACTIVE)
    ended = Wait.objects.filter(~Exists(unfinished)).order_by().values_list("after_id", flat=True)
    return list(ended.distinct()[:CHUNK])
