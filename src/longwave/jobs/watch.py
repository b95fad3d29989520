"""What is done beside a running job, in another thread: its progress written down, and a look whether it shall stop."""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import structlog
from django.db import connections

from longwave import database
from longwave.jobs import heartbeat, ledger
from longwave.jobs.job_context import JobContext

log = structlog.get_logger("longwave.jobs")

LOOK_EVERY = 0.5
"""Seconds. A shorter job is not looked at."""

SETTLE_PATIENCE = 30.0
"""Seconds that a job's last progress waits for a database that is away."""


def watching(context: JobContext) -> AbstractContextManager[None]:
    """Look after the job while the block runs."""
    return heartbeat.beating(LOOK_EVERY, partial(_look, context))


def settle(context: JobContext) -> None:
    """The job has ended: write down what is not yet written. No statement when there is nothing."""
    try:
        context.save(partial(_write_patiently, context))
    except Exception as error:
        log.warning("progress_not_written", job=context.id, why=str(error))


def _look(context: JobContext) -> None:
    try:
        context.save(partial(_write, context))
        if reason := ledger.stop_reason(context.id, context.seq, context.owner):
            context.cancel(reason)
    except Exception as error:
        # The database is away. The next look finds it back, or the lease runs out.
        log.warning("job_not_looked_after", job=context.id, why=str(error))
        connections.close_all()


def _write(context: JobContext, progress: dict[str, Any]) -> None:
    ledger.progress(context.id, context.seq, context.owner, progress)


def _write_patiently(context: JobContext, progress: dict[str, Any]) -> None:
    database.persist(lambda: _write(context, progress), give_up_after=SETTLE_PATIENCE)
