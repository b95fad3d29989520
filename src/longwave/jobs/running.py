"""One run of one claimed job: its function is called, with the context it may ask for."""

import asyncio
import inspect
from typing import Any

import structlog

from longwave.jobs import coroutines, job_context, ledger, watch
from longwave.jobs.declare import AnyJob
from longwave.jobs.job_context import JobContext
from longwave.jobs.ledger import Claim


def call(declared: AnyJob, context: JobContext, held: Claim) -> Any:
    """What the job returned, or the exception it raised."""
    token = job_context.enter(context)
    try:
        with watch.watching(context):
            return _outcome(declared, held)
    finally:
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
        _write=ledger.checkpoint,
    )
    context.hold_until(until)
    return context


def _outcome(declared: AnyJob, held: Claim) -> Any:
    with structlog.contextvars.bound_contextvars(job=held.id, job_name=held.name):
        try:
            answer = declared.function(**held.args)
            return coroutines.run(answer) if inspect.iscoroutine(answer) else answer
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            # SystemExit too: a job that calls sys.exit() fails, it does not take its worker along.
            return error
