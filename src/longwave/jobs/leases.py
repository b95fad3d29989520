"""What the holder of a lease does: renew it, keep what the job tells of itself, and end the run.

Each move is one guarded UPDATE: its row count says whether the lease was still held. A second one, made because the
answer to the first was lost, finds what that has done.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from longwave import database
from longwave.jobs import doorbells, moves
from longwave.jobs.doorbells import Bell
from longwave.jobs.job_context import Cancelled
from longwave.jobs.ledger import Claim
from longwave.jobs.models import Job, Status
from longwave.jobs.states import JOB


def renew(job_id: int, seq: int, owner: str, lease: float) -> bool | None:
    """Hold the lease for `lease` more seconds from now; False when it is gone.

    None: somebody's transaction has the row. That is not waited for, as other leases would run out meanwhile.
    """
    held = held_by(job_id, seq, owner)
    with transaction.atomic():
        if database.unlocked(held):
            return held.update(lease_until=Now() + timedelta(seconds=lease)) == 1
    return None if held.exists() else False


def checkpoint(job_id: int, seq: int, owner: str, value: Any) -> bool:
    """Store a checkpoint; False when the lease is gone. Raises Cancelled, the checkpoint stored, when it shall stop."""
    held = held_by(job_id, seq, owner)
    if held.filter(cancel_reason="").update(checkpoint=value):
        return True
    if not held.update(checkpoint=value):
        return False
    raise Cancelled(stop_reason(job_id, seq, owner) or "")


def progress(job_id: int, seq: int, owner: str, value: Any) -> bool:
    """Store how far it is; False when the lease is gone."""
    return held_by(job_id, seq, owner).update(progress=value) == 1


def stop_reason(job_id: int, seq: int, owner: str) -> str | None:
    """Why the running job shall stop; empty: it may go on; None: the lease is gone."""
    return held_by(job_id, seq, owner).values_list("cancel_reason", flat=True).first()


def finish_awaited(held: Claim, result: Any) -> bool:
    """running → success also for a job that others wait for. They are to be released then."""
    return _move("finish", held, result=result, error="", traceback="", **moves.ended())


def fail(held: Claim, error: str, traceback: str) -> bool:
    """running → failure, for good."""
    return _move("fail", held, failures=F("failures") + 1, **moves.blame(error, traceback), **moves.failed())


def retry(held: Claim, after: float, error: str, traceback: str) -> bool:
    """running → retry, in `after` seconds."""
    run_at = Now() + timedelta(seconds=after)
    return _go_on(
        "retry", held, failures=F("failures") + 1, crashes=0, run_at=run_at, **moves.blame(error, traceback)
    )


def requeue(held: Claim) -> bool:
    """running → queued after an orderly turn. The bell to ring then is `seq + 1`."""
    return _go_on("requeue", held, run_at=None, **moves.orderly(), **moves.queued())


def postpone(held: Claim, after: float, why: str = "") -> bool:
    """running → retry after an orderly turn, in `after` seconds. why: what it waits for."""
    at, reason = Now() + timedelta(seconds=after), moves.storable_reason(why)
    return _go_on("postpone", held, run_at=at, wait_reason=reason, **moves.orderly())


def stop(held: Claim, reason: str) -> bool:
    """running → cancelled: it noticed, or decided it itself."""
    return _move("stop", held, cancel_reason=moves.storable_reason(reason), **moves.ended())


def stop_if_asked(held: Claim | Job) -> bool:
    """running → cancelled when somebody has cancelled it meanwhile."""
    asked = held_by(held.id, held.seq, held.owner).exclude(cancel_reason="")
    return asked.update(**moves.leaving("stop"), **moves.ended()) == 1 or _was_moved("stop", held)


def ask_to_stop(job_id: int, reason: str) -> bool:
    """Have a running job stop at its next checkpoint; False when it is not running."""
    running = Job.objects.filter(pk=job_id, status=Status.RUNNING)
    return running.update(cancel_reason=moves.storable_reason(reason)) == 1


def hand_on(owner: str, unbegun: Sequence[Claim]) -> tuple[list[Bell], set[int]]:
    """running → queued for jobs that were claimed and never begun, or cancelled for those that shall stop.

    Answers with what to ring for, and with the ids of the cancelled ones. Safe to repeat after a lost answer.
    """
    ids = [held.id for held in unbegun]
    mine = Job.objects.filter(pk__in=ids, owner=owner)
    running = mine.filter(status=Status.RUNNING)
    running.filter(cancel_reason="").update(
        **moves.leaving("hand_on"), attempt=F("attempt") - 1, **moves.rung_anew()
    )
    running.update(**moves.leaving("stop"), **moves.ended())
    return doorbells.still_queued(ids), set(mine.filter(status=Status.CANCELLED).values_list("pk", flat=True))


def held_by(job_id: int, seq: int, owner: str) -> QuerySet[Job]:
    """The running job, as long as the lease of this owner is not gone."""
    return Job.objects.filter(pk=job_id, seq=seq, owner=owner, status=Status.RUNNING)


def _move(verb: str, held: Claim, **changes: Any) -> bool:
    mine = held_by(held.id, held.seq, held.owner)
    return mine.update(**moves.leaving(verb), **changes) == 1 or _was_moved(verb, held)


def _go_on(verb: str, held: Claim, **changes: Any) -> bool:
    """A move after which the job runs again: not when it has been cancelled meanwhile."""
    may_go_on = held_by(held.id, held.seq, held.owner).filter(cancel_reason="")
    return may_go_on.update(**moves.leaving(verb), **changes) == 1 or _was_moved(verb, held)


def _was_moved(verb: str, held: Claim | Job) -> bool:
    """Whether the move was made before, and its answer lost. Nobody has taken the job since, nor was it found dead."""
    same = Job.objects.filter(pk=held.id, owner=held.owner, seq__in=(held.seq, held.seq + 1))
    return same.filter(status=JOB.target(verb, Status.RUNNING), crashes__lte=held.crashes).exists()
