"""What waits and runs in each queue."""

from collections.abc import Iterator

from longwave.jobs import pausing, stats
from longwave.ops.metrics.figures import Figure, Part, Reading
from longwave.ops.metrics.labels import queue_labels

_BY_QUEUE = ("queue",)

READY = Figure("longwave_queue_ready_jobs", "Jobs that may run now", _BY_QUEUE)
RUNNING = Figure("longwave_queue_running_jobs", "Jobs that a worker holds", _BY_QUEUE)
SCHEDULED = Figure("longwave_queue_scheduled_jobs", "Jobs whose time, or turn, has not come", _BY_QUEUE)
RETRYING = Figure("longwave_queue_retrying_jobs", "Jobs that wait for their next try", _BY_QUEUE)
OLDEST_WAIT = Figure(
    "longwave_queue_oldest_wait_seconds",
    "For how long the ready job that waits longest could have run; 0 when none is ready",
    _BY_QUEUE,
)
PAUSED = Figure(
    "longwave_queue_paused", "1 while nothing of the queue is begun, because it is paused", _BY_QUEUE
)


def _read() -> Iterator[Reading]:
    paused, found = pausing.paused(), stats.queue_status()
    label_of = queue_labels(found)
    worst: dict[str, float] = {}
    counts: dict[tuple[Figure, str], int] = {}
    for name, status in found.items():
        label = label_of[name]
        worst[label] = max(worst.get(label, 0.0), status.oldest_wait)
        for figure, count in (
            (READY, status.ready),
            (RUNNING, status.running),
            (SCHEDULED, status.scheduled),
            (RETRYING, status.retrying),
            (PAUSED, int(name in paused)),
        ):
            counts[figure, label] = counts.get((figure, label), 0) + count
    yield from (Reading(figure, count, (label,)) for (figure, label), count in counts.items())
    yield from (Reading(OLDEST_WAIT, seconds, (label,)) for label, seconds in worst.items())


PART = Part("queues", (READY, RUNNING, SCHEDULED, RETRYING, OLDEST_WAIT, PAUSED), _read)
