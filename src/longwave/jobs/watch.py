"""What is done beside a running job, in another thread: its words written down, and a look whether it shall stop."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import structlog
from django.db import connections

from longwave import database
from longwave.jobs import heartbeat, leases, timeline
from longwave.jobs.job_context import JobContext

T = TypeVar("T")
log = structlog.get_logger("longwave.jobs")

LOOK_EVERY = 0.5
"""Seconds. A shorter job is not looked at."""

SETTLE_PATIENCE = 30.0
"""Seconds that a job's last progress and spans wait for a database that is away."""


def watching(context: JobContext) -> AbstractContextManager[None]:
    """Look after the job while the block runs."""
    return heartbeat.beating(LOOK_EVERY, partial(_look, context))


def settle(context: JobContext) -> None:
    """The job has ended: write down what is not yet written. No statement when there is nothing."""
    try:
        context.save(
            partial(_patiently, partial(_write_progress, context)),
            partial(_patiently, partial(timeline.keep, context.id)),
        )
    except Exception as error:
        log.warning("progress_not_written", job=context.id, why=str(error))


def _look(context: JobContext) -> None:
    try:
        context.save(partial(_write_progress, context), partial(timeline.keep, context.id))
        if reason := leases.stop_reason(context.id, context.seq, context.owner):
            context.cancel(reason)
    except Exception as error:
        # The database is away. The next look finds it back, or the lease runs out.
        log.warning("job_not_looked_after", job=context.id, why=str(error))
        connections.close_all()


def _write_progress(context: JobContext, progress: dict[str, Any]) -> None:
    leases.progress(context.id, context.seq, context.owner, progress)


def _patiently(write: Callable[[T], object], value: T) -> None:
    database.persist(lambda: write(value), give_up_after=SETTLE_PATIENCE)
