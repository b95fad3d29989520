"""How a run ends in the ledger: what the function returned or raised becomes the job's next state."""

import random
from collections.abc import Callable
from typing import Any

import structlog
from django.db import transaction

from longwave import database
from longwave.jobs import declare, doorbells, hooks, leases, measures, retrying, ring, waiting
from longwave.jobs.declare import Again, AnyJob
from longwave.jobs.doorbells import Bell
from longwave.jobs.hooks import JobEvent, Outcome
from longwave.jobs.job_context import Cancelled
from longwave.jobs.ledger import Claim
from longwave.jobs.measures import Ended, Ending
from longwave.jobs.models import Job

log = structlog.get_logger("longwave.jobs")

RECORD_PATIENCE = 300.0
"""Seconds that an outcome waits for a database that is away. Lost, the job would run a second time."""


def record(declared: AnyJob, held: Claim, outcome: Any) -> None:
    """Write down what became of one run."""
    match outcome:
        case Cancelled():
            _record_cancelled(held, lambda: leases.stop(held, str(outcome)))
        case BaseException():
            _record_error(declared, held, outcome)
        case Again(after=after, why=why) if after > 0:
            _persist(held, "postponed", lambda: leases.postpone(held, after, why), why=why, after=after)
        case Again(why=why):
            if _persist(held, "requeued", lambda: leases.requeue(held), why=why):
                ring.ring_all([Bell(held.id, held.seq + 1, held.name, held.queue)])
        case _:
            _record_result(declared, held, outcome)


def _record_result(declared: AnyJob, held: Claim, result: Any) -> None:
    problem = declare.result_problem(result)
    if problem is None:
        finish = lambda: not waiting.finish_many(held.owner, [(held, result)])  # noqa: E731
        if _persist(held, "succeeded", finish):
            ring_next(held.serial_key)
            _tell(declared, held, Outcome.SUCCESS, result=result)
        return
    error = f"The job did its work, but what it returned {problem}."
    if _persist(held, "failed", lambda: leases.fail(held, error, ""), why=error):
        followed(held.id, held.serial_key)
        _tell(declared, held, Outcome.FAILURE, error=error)


def _record_error(declared: AnyJob, held: Claim, error: BaseException) -> None:
    pause = retrying.pause(declared, held.failures, error, random.random())
    sentence, traceback = retrying.describe(error)
    if pause is not None:
        retry = lambda: leases.retry(held, pause, sentence, traceback)  # noqa: E731
        if _persist(held, "will_retry", retry, why=sentence, after=round(pause, 1)):
            _tell(declared, held, Outcome.RETRY, error=sentence, retry_in=pause)
    elif _persist(held, "failed", lambda: leases.fail(held, sentence, traceback), why=sentence):
        followed(held.id, held.serial_key)
        _tell(declared, held, Outcome.FAILURE, error=sentence)


def _tell(declared: AnyJob, held: Claim | Job, outcome: Outcome, **details: Any) -> None:
    measures.tell(Ended(held.name, held.queue, Ending(outcome)))
    if hooks.wants(declared.hooks, outcome):
        about = {name: getattr(held, name) for name in ("id", "name", "queue", "args", "attempt")}
        hooks.tell(declared.hooks, JobEvent(outcome, **about, **details))


def poisoned(row: Job, error: str) -> None:
    """A job was failed because workers die of it: its subscribers are told here, in the beat."""
    followed(row.pk, row.serial_key)
    declared = declare.get(row.name)
    if declared is not None:
        _tell(declared, row, Outcome.FAILURE, error=error)
    else:
        measures.tell(Ended(row.name, row.queue, Ending.FAILURE))


def cancelled(held: Claim | Job) -> None:
    """A job that a worker had, has or had lost ended `cancelled`: what stands behind it goes on, or ends too."""
    measures.tell(Ended(held.name, held.queue, Ending.CANCELLED))
    followed(held.pk if isinstance(held, Job) else held.id, held.serial_key)


def _record_cancelled(held: Claim, write: Callable[[], bool]) -> bool:
    was_ours = database.persist(write, give_up_after=RECORD_PATIENCE)
    if was_ours:
        log.info("job_cancelled", job=held.id, job_name=held.name, queue=held.queue)
        cancelled(held)
    return was_ours


def _persist(held: Claim, event: str, write: Any, **details: Any) -> bool:
    was_ours = bool(database.persist(write, give_up_after=RECORD_PATIENCE))
    if not was_ours and _record_cancelled(held, lambda: leases.stop_if_asked(held)):
        return False
    level = {"failed": "error", "will_retry": "warning"}.get(event, "debug") if was_ours else "warning"
    # Not ours any more: the lease ran out meanwhile, and another worker decides what becomes of the job.
    word = f"job_{event}" if was_ours else "job_ended_too_late"
    getattr(log, level)(word, job=held.id, job_name=held.name, queue=held.queue, **details)
    return was_ours


def followed(job_id: int, serial_key: str | None) -> None:
    """A job has ended without success: ring for the one behind it, and take back those that waited for it."""
    ring_next(serial_key)
    waiting.release(job_id)


def ring_next(serial_key: str | None) -> None:
    """A job of this key has ended: ring for the one behind it."""
    if serial_key is None:
        return
    following = database.persist(lambda: doorbells.next_in_line(serial_key), give_up_after=RECORD_PATIENCE)
    if following is not None:
        # In a caller's transaction the end cannot be seen before its commit, and the message would be dropped.
        transaction.on_commit(lambda: ring.ring_all([following]), robust=True)
