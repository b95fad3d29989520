"""Who is there to work: the workers that answer over the broker, or else those whose jobs are running."""

import structlog

from longwave.celery import app
from longwave.jobs import broker
from longwave.jobs.models import Job, Status

log = structlog.get_logger("longwave.jobs")

PATIENCE = 0.5
"""Seconds that workers have to answer. All of them are used: nobody knows how many will."""


def count_workers() -> int:
    """How many workers there are. While the broker is away it can only be those that are busy."""
    return max(len(_answering()), len(_busy()))


def _answering() -> list[str]:
    try:
        broker.depth("default")  # quick to give up, which Celery's own question is not
        answers = app.control.ping(timeout=PATIENCE)
    except Exception as error:  # whatever this broker's driver raises
        log.debug("workers_not_asked", why=str(error))
        return []
    return [name for answer in answers for name in answer]


def _busy() -> set[str]:
    """The workers whose jobs are running, as `host:pid` of their main process."""
    owners = Job.objects.filter(status=Status.RUNNING).values_list("owner", flat=True)
    return {":".join(owner.split(":")[:2]) for owner in owners}
