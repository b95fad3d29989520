"""What a bot is told about one job: the ledger's states in four words, and all that is known beside them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from longwave.core.errors import NotFound
from longwave.jobs import waiting
from longwave.jobs.models import Job, Status


class TaskStatus(StrEnum):
    """How far a task is."""

    PENDING = "pending"  # waits or runs
    SUCCESS = "success"  # done; `result` is what it returned
    FAILURE = "failure"  # gave up, or was cancelled; metadata says why
    RETRY = "retry"  # failed, and will be tried again


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task as it is now.

    result: what it returned, once it is a success. duration_ms: how long its last run took, once it has ended.
    metadata: name, queue, state (the ledger's word), attempt, progress (done, total, note), error, reason (why it was
    or is to be cancelled), waits_for (unfinished tasks that it comes after), parent_id (the job that submitted it), and
    the moments of its life.
    """

    task_id: int
    status: TaskStatus
    result: Any = None
    duration_ms: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


_WORDS = {
    Status.SCHEDULED: TaskStatus.PENDING,
    Status.QUEUED: TaskStatus.PENDING,
    Status.RUNNING: TaskStatus.PENDING,
    Status.RETRY: TaskStatus.RETRY,
    Status.SUCCESS: TaskStatus.SUCCESS,
    Status.FAILURE: TaskStatus.FAILURE,
    Status.CANCELLED: TaskStatus.FAILURE,
}


def result_of(job_id: int) -> TaskResult:
    """The job as it is now. Raises NotFound: there was none, or it ended long ago and is forgotten."""
    row = Job.objects.filter(pk=job_id).first()
    if row is None:
        raise NotFound(f"There is no task {job_id}; those that ended are forgotten after a while.")
    return TaskResult(
        task_id=row.pk,
        status=_status_of(row),
        result=row.result if row.status == Status.SUCCESS else None,
        duration_ms=_duration_ms(row),
        metadata=_metadata(row) | ({"waits_for": waiting.waits_for(row.pk)} if row.is_waiting else {}),
    )


def _status_of(row: Job) -> TaskStatus:
    # A pause that the job asked for itself is a row in `retry` too, but nothing has failed.
    if row.status == Status.RETRY and not row.failures:
        return TaskStatus.PENDING
    return _WORDS[Status(row.status)]


def _duration_ms(row: Job) -> float | None:
    if row.started_at is None or row.finished_at is None:
        return None
    return round((row.finished_at - row.started_at).total_seconds() * 1000, 3)


def _metadata(row: Job) -> dict[str, Any]:
    return {
        "name": row.name,
        "queue": row.queue,
        "state": str(row.status),
        "attempt": row.attempt,
        "progress": row.progress,
        "error": row.error,
        "reason": row.cancel_reason,
        "parent_id": row.parent_id,
        "created_at": row.created_at,
        "run_at": row.run_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }
