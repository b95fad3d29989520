"""Running claimed jobs: claim, call, record. What a Celery task does, and all it does."""

import inspect
import os
import random
import secrets
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import structlog
from django.db import InterfaceError, OperationalError

from longwave import database
from longwave.jobs import coroutines, declare, heartbeat, job_context, ledger, retrying, ring, stop
from longwave.jobs.declare import Again, AnyJob
from longwave.jobs.job_context import JobContext
from longwave.jobs.ledger import Bell, Claim

T = TypeVar("T")
log = structlog.get_logger("longwave.jobs")

CLAIM_PATIENCE = 30.0
"""Seconds that a message waits for a database that is away, before it goes back to the broker."""

RECORD_PATIENCE = 300.0
"""Seconds that an outcome waits for a database that is away. Lost, the job would run a second time."""

_HOST = socket.gethostname()
_main_pid = os.getpid()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this process' one event loop, which outlasts the job."""
    return coroutines.run(coroutine)


def owner_prefix(main_pid: int) -> str:
    """How the owner of all jobs begins that are run by the worker with this main process, on this host."""
    return f"{_HOST}:{main_pid}:"


def is_main(pid: int) -> None:
    """Say which process is the worker's main one; the children it forks name it in their jobs' owner."""
    global _main_pid
    _main_pid = pid


def perform(name: str, pairs: Sequence[tuple[int, int]]) -> None:
    """Run the jobs of one message, one after the other."""
    for position, (job_id, seq) in enumerate(pairs):
        if stop.stopping():
            _pass_on(pairs[position:])
            return
        try:
            execute(job_id, seq)
        except (OperationalError, InterfaceError) as error:
            if not database.is_passing(error):
                raise
            log.warning("database_away", job=job_id, why=str(error))
            _ring_blindly(name, pairs[position:])
            return


def execute(job_id: int, seq: int) -> bool:
    """Run one job, when this message is still the valid one; whether it was."""
    started = job_context.now()
    claimed = database.persist(_claiming(job_id, seq), give_up_after=CLAIM_PATIENCE)
    if claimed is None:
        return False
    held, declared = claimed
    context = _context(held, started + declared.lease)
    token = job_context.enter(context)
    try:
        with heartbeat.renewing(context, declared.lease):
            _record(declared, held, _outcome(declared, held))
    finally:
        job_context.leave(token)
    return True


def _claiming(job_id: int, seq: int) -> Any:
    # Unique for this attempt, so that repeating it after a lost answer recognises its own claim.
    owner = f"{owner_prefix(_main_pid)}{os.getpid()}:{secrets.token_hex(4)}"

    def claim() -> tuple[Claim, AnyJob] | None:
        row = ledger.look(job_id)
        declared = declare.get(row.name) if row is not None else None
        if row is None or declared is None:
            return None
        held = ledger.claim(row, seq, owner, declared.lease)
        return None if held is None else (held, declared)

    return claim


def _context(held: Claim, until: float) -> JobContext:
    context = JobContext(
        id=held.id,
        seq=held.seq,
        attempt=held.attempt,
        crashes=held.crashes,
        owner=held.owner,
        saved=held.saved,
        _write=ledger.checkpoint,
    )
    context.hold_until(until)
    return context


def _outcome(declared: AnyJob, held: Claim) -> Any:
    """What the job returned, or the exception it raised."""
    with structlog.contextvars.bound_contextvars(job=held.id, job_name=held.name):
        try:
            answer = declared.function(**held.args)
            return run(answer) if inspect.iscoroutine(answer) else answer
        except (Exception, SystemExit) as error:
            # SystemExit too: a job that calls sys.exit() fails, it does not take its worker along.
            return error


def _record(declared: AnyJob, held: Claim, outcome: Any) -> None:
    match outcome:
        case BaseException():
            _record_error(declared, held, outcome)
        case Again(after=after, why=why) if after > 0:
            _persist(held, "postponed", lambda: ledger.postpone(held, after), why=why, after=after)
        case Again(why=why):
            if _persist(held, "requeued", lambda: ledger.requeue(held), why=why):
                ring.ring_all([Bell(held.id, held.seq + 1, held.name, held.queue)])
        case _:
            _record_result(held, outcome)


def _record_result(held: Claim, result: Any) -> None:
    problem = declare.json_problem(result)
    if problem is None:
        ended = _persist(held, "succeeded", lambda: ledger.finish(held, result))
    else:
        error = f"The job did its work, but what it returned {problem}."
        ended = _persist(held, "failed", lambda: ledger.fail(held, error, ""), why=error)
    if ended:
        ring_next(held.serial_key)


def _record_error(declared: AnyJob, held: Claim, error: BaseException) -> None:
    pause = retrying.pause(declared, held.failures, error, random.random())
    sentence, traceback = retrying.describe(error)
    if pause is not None:
        retry = lambda: ledger.retry(held, pause, sentence, traceback)  # noqa: E731
        _persist(held, "will_retry", retry, why=sentence, after=round(pause, 1))
    elif _persist(held, "failed", lambda: ledger.fail(held, sentence, traceback), why=sentence):
        ring_next(held.serial_key)


def _persist(held: Claim, event: str, write: Any, **details: Any) -> bool:
    was_ours = bool(database.persist(write, give_up_after=RECORD_PATIENCE))
    level = {"failed": "error", "will_retry": "warning"}.get(event, "debug") if was_ours else "warning"
    # Not ours any more: the lease ran out meanwhile, and another worker decides what becomes of the job.
    word = f"job_{event}" if was_ours else "job_ended_too_late"
    getattr(log, level)(word, job=held.id, job_name=held.name, **details)
    return was_ours


def ring_next(serial_key: str | None) -> None:
    """A job of this key has ended: ring for the one behind it."""
    if serial_key is None:
        return
    following = database.persist(lambda: ledger.next_in_line(serial_key), give_up_after=CLAIM_PATIENCE)
    if following is not None:
        ring.ring_all([following])


def _pass_on(pairs: Sequence[tuple[int, int]]) -> None:
    """This worker is stopping: let another have what it has not begun."""
    ring.ring_all(ledger.still_queued([job_id for job_id, _ in pairs]))


def _ring_blindly(name: str, pairs: Sequence[tuple[int, int]]) -> None:
    """Give a message back while the database cannot be asked for its queue: its job's own will do."""
    declared = declare.get(name)
    if declared is not None:
        ring.ring(name, declared.queue, pairs)
