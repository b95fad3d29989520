"""How much work there is, and who does it."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min

from longwave import database
from longwave.jobs import presence, queues
from longwave.jobs.models import ACTIVE, Job, Status

RECENT = 1000
"""Successes that an average is made of: the last ones."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """What is in one queue.

    ready: may run now. scheduled: not before their time. retrying: failed, or paused themselves, and come again.
    oldest_wait: seconds for which the one that waits longest could have run; 0 when none is ready.
    """

    queue: str
    priority: int
    ready: int = 0
    running: int = 0
    scheduled: int = 0
    retrying: int = 0
    oldest_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """The tasks that the ledger holds (ended ones for a week, failed ones for a month), and the workers.

    total_tasks: cancelled ones too. pending_tasks: all that have not ended. queue_length: those that may run now.
    average_processing_time_ms: over the last successes; 0 while there is none.
    """

    total_tasks: int
    successful_tasks: int
    failed_tasks: int
    pending_tasks: int
    active_workers: int
    queue_length: int
    average_processing_time_ms: float


def queue_status() -> dict[str, QueueStatus]:
    """Every queue by name: those there always are, and the regions of them in which there is work."""
    counts, since = _active()
    now = database.now()
    waits = {queue: max(0.0, (now - ready_at).total_seconds()) for queue, ready_at in since.items()}
    regions = sorted({queue for queue, _ in counts} - set(queues.PRIORITIES))
    return {
        queue: _status_of(queue, counts, waits.get(queue, 0.0)) for queue in (*queues.PRIORITIES, *regions)
    }


def worker_stats() -> WorkerStats:
    """Totals of all queues. It asks the workers over the broker, which takes half a second."""
    counted = Counter({status: Job.objects.filter(status=status).count() for status in Status})
    return WorkerStats(
        total_tasks=counted.total(),
        successful_tasks=counted[Status.SUCCESS],
        failed_tasks=counted[Status.FAILURE],
        pending_tasks=sum(counted[status] for status in ACTIVE),
        active_workers=presence.count_workers(),
        queue_length=counted[Status.QUEUED],
        average_processing_time_ms=_average_ms(),
    )


def _active() -> tuple[Counter[tuple[str, str]], dict[str, datetime]]:
    """How many jobs of each queue stand where, and since when its oldest queued one could have run."""
    active = Job.objects.filter(status__in=ACTIVE).values_list("queue", "status").order_by()
    rows = list(active.annotate(count=Count("*"), since=Min("ready_at")))
    counts = Counter({(queue, status): count for queue, status, count, _ in rows})
    return counts, {queue: since for queue, status, _, since in rows if status == Status.QUEUED}


def _status_of(queue: str, counts: Counter[tuple[str, str]], waited: float) -> QueueStatus:
    return QueueStatus(
        queue=queue,
        priority=queues.PRIORITIES.get(queues.base(queue), 0),
        ready=counts[queue, Status.QUEUED],
        running=counts[queue, Status.RUNNING],
        scheduled=counts[queue, Status.SCHEDULED],
        retrying=counts[queue, Status.RETRY],
        oldest_wait=waited,
    )


def _average_ms() -> float:
    last = Job.objects.filter(status=Status.SUCCESS).order_by("-finished_at")
    durations = [
        (finished - started).total_seconds() * 1000
        for started, finished in last.values_list("started_at", "finished_at")[:RECENT]
        if started is not None and finished is not None
    ]
    return sum(durations) / len(durations) if durations else 0.0
