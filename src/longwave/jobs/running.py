"""One run of one claimed job: its function is called, with the context it may ask for."""

import inspect
from functools import partial
from time import perf_counter
from typing import Any

import structlog
from django.db import connection

from longwave import database
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import coroutines, declare, endings, job_context, leases, measures, watch
from longwave.jobs.declare import AnyJob
from longwave.jobs.job_context import JobContext
from longwave.jobs.ledger import Claim
from longwave.jobs.measures import Ran


def call(declared: AnyJob, context: JobContext, held: Claim) -> Any:
    """What the job returned, or the exception it raised."""
    token, began = job_context.enter(context), perf_counter()
    try:
        with watch.watching(context):
            return _outcome(declared, held)
    finally:
        if measures.is_observed(Ran):
            measures.tell(Ran(held.name, held.queue, held.waited, perf_counter() - began))
        job_context.leave(token)
        watch.settle(context)


def context_of(held: Claim, until: float) -> JobContext:
    """What the run may know about itself. until: when its lease ends, by job_context.now()."""
    context = JobContext(
        id=held.id,
        seq=held.seq,
        attempt=held.attempt,
        crashes=held.crashes,
        owner=held.owner,
        saved=held.saved,
        _write=_checkpoint,
    )
    context.hold_until(until)
    return context


def _checkpoint(job_id: int, seq: int, owner: str, value: Any) -> bool:
    """Store it, also when the database has to be waited for: without it, what the job has done would be done again.

    Raises InvalidInput for what not every database can hold.
    """
    if problem := declare.result_problem(value):
        raise InvalidInput(Problem("checkpoint", value, problem))
    write = partial(leases.checkpoint, job_id, seq, owner, value)
    if connection.in_atomic_block:
        return write()  # in a transaction of the job's own, which is lost with its connection
    return database.persist(write, give_up_after=endings.RECORD_PATIENCE)


def _outcome(declared: AnyJob, held: Claim) -> Any:
    with structlog.contextvars.bound_contextvars(job=held.id, job_name=held.name, queue=held.queue):
        try:
            answer = declared.function(**held.args)
            return coroutines.run(answer) if inspect.iscoroutine(answer) else answer
        except KeyboardInterrupt:
            raise  # by whoever runs it by hand
        except BaseException as error:
            # SystemExit too: a job that calls sys.exit() fails, it does not take its worker along.
            return error
