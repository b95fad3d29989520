"""Running jobs whose worker died, is thought to have, or was stopped: found, and taken from it.

Each move is one guarded UPDATE: its row count says whether the worker was still without a lease.
"""

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from longwave import database
from longwave.jobs import leases, moves
from longwave.jobs.models import Job, Status


def expired(limit: int) -> list[Job]:
    """Running jobs whose lease ran out, but for those that a transaction has locked: the next look sees them."""
    running = Job.objects.filter(status=Status.RUNNING, lease_until__lt=Now())
    rows = list(running.order_by("lease_until")[:limit])
    free = set(database.unlocked(running.filter(pk__in=[row.pk for row in rows]))) if rows else set()
    return [row for row in rows if row.pk in free]


def owned_by(prefix: str) -> list[Job]:
    """Running jobs of the owners that begin with `prefix`."""
    return list(Job.objects.filter(status=Status.RUNNING, owner__startswith=prefix))


def is_running_for(owner: str) -> bool:
    """Whether the ledger still has a job running for this owner: nobody has found out that its worker died."""
    return Job.objects.filter(status=Status.RUNNING, owner=owner).exists()


def hand_back(row: Job) -> bool:
    """running → queued because its worker was stopped, and has surely ended it: no fault of the job."""
    may_go_on = leases.held_by(row.pk, row.seq, row.owner).filter(cancel_reason="")
    return may_go_on.update(**moves.leaving("hand_back"), owner="", **moves.queued()) == 1


def give_back(row: Job, *, is_dead: bool) -> bool:
    """running → queued because the worker died: known (`is_dead`), or concluded from a lease that ran out."""
    deserted = _deserted(row, is_dead).filter(cancel_reason="")
    changes = {"owner": "", "crashes": F("crashes") + 1, "run_at": None, **moves.queued()}
    return deserted.update(**moves.leaving("give_back"), **changes) == 1


def stop(row: Job, *, is_dead: bool) -> bool:
    """running → cancelled because it shall stop, and its worker died."""
    deserted = _deserted(row, is_dead).exclude(cancel_reason="")
    return deserted.update(**moves.leaving("stop"), crashes=F("crashes") + 1, **moves.ended()) == 1


def poison(row: Job, error: str, *, is_dead: bool) -> bool:
    """running → failure because workers die of it."""
    changes = {"crashes": F("crashes") + 1, **moves.blame(error, ""), **moves.failed()}
    return _deserted(row, is_dead).update(**moves.leaving("poison"), **changes) == 1


def _deserted(row: Job, is_dead: bool) -> QuerySet[Job]:
    held = leases.held_by(row.pk, row.seq, row.owner)
    return held if is_dead else held.filter(lease_until__lt=Now())
