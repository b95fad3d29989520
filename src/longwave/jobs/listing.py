"""Jobs of every state, as people look for them: first what is at work, then what comes next."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from django.db.models import QuerySet

from longwave.jobs import doorbells
from longwave.jobs.models import ACTIVE, Job, Status

_FIRST = {
    Status.RUNNING: "started_at",
    Status.QUEUED: "ready_at",
    Status.RETRY: "run_at",
    Status.SCHEDULED: "run_at",
    Status.FAILURE: "-finished_at",
    Status.SUCCESS: "-finished_at",
    Status.CANCELLED: "-finished_at",
}
"""The states in the order in which they are listed, and which of a state's jobs come first."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which jobs are meant: those that all of it is true of."""

    statuses: tuple[Status, ...] = ACTIVE
    queue: str = ""
    name: str = ""
    serial_key: str = ""


def find(sought: Sought, limit: int) -> list[Job]:
    """The first `limit` of them, without tracebacks."""
    wanted = (status for status in _FIRST if status in sought.statuses)
    return list(islice((row for status in wanted for row in _of(status, sought, limit)), limit))


def count(sought: Sought) -> int:
    """How many there are."""
    return _matching(sought).filter(status__in=sought.statuses).count()


def _of(status: Status, sought: Sought, limit: int) -> Iterator[Job]:
    rows = _matching(sought).filter(status=status).order_by(_FIRST[status]).defer("traceback", "checkpoint")
    if status != Status.QUEUED or sought.queue:
        yield from rows[:limit]
        return
    # Each queue by itself, so that an index has them in order, however many wait.
    lines = (list(rows.filter(queue=queue)[:limit]) for queue in doorbells.first_in_line())
    yield from heapq.merge(*lines, key=lambda row: row.ready_at)


def _matching(sought: Sought) -> QuerySet[Job]:
    rows = Job.objects.all()
    if sought.queue:
        rows = rows.filter(queue=sought.queue)
    if sought.name:
        rows = rows.filter(name=sought.name)
    return rows.filter(serial_key=sought.serial_key) if sought.serial_key else rows
