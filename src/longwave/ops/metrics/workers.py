"""Who is there to work, and what ledger, broker and workers do not agree about. Asking takes a second."""

from collections import Counter
from collections.abc import Iterator, Mapping

from longwave.jobs import presence, queues
from longwave.ops import drift
from longwave.ops.drift import Kind
from longwave.ops.metrics.figures import Figure, Part, Reading
from longwave.ops.metrics.labels import queue_labels

ASK_EVERY = 30.0
_AGE = f"asked at most every {ASK_EVERY:g} seconds"

BROKER = Figure("longwave_broker_up", f"1 while the broker answers; {_AGE}")
WORKERS = Figure("longwave_workers", f"Workers that answer over the broker, leaving ones too; {_AGE}")
PLACES = Figure(
    "longwave_worker_places", f"Jobs that the workers which are not leaving can run at a time; {_AGE}"
)
MEMORY = Figure(
    "longwave_worker_memory_bytes",
    f"Memory of all workers' processes together; shared pages count in each; {_AGE}",
)
LISTENING = Figure("longwave_queue_workers", f"Workers that listen to a queue; {_AGE}", ("queue",))
DRIFT = Figure(
    "longwave_drift_jobs",
    "Jobs that ledger, broker and workers do not agree about: unserved (nobody listens), unheard (the broker has no"
    " message), lost_lease, dead_worker (of the web process' machine); stale_message counts messages without a job,"
    f" which are harmless; what was moving during the look may be counted; {_AGE}",
    ("kind",),
)

_COUNTED = (Kind.UNSERVED, Kind.UNHEARD, Kind.LOST_LEASE, Kind.DEAD_WORKER, Kind.STALE_MESSAGE)


def _read() -> Iterator[Reading]:
    answers = presence.workers()
    yield Reading(BROKER, float(answers is not None))
    if answers is not None:
        yield from _workers(answers)
    counts: Counter[Kind] = Counter()
    for one in drift.compare(answers):
        counts[one.kind] += one.count
    # While the broker is away only leases can be compared: the rest is not known, and not 0.
    known = _COUNTED if answers is not None else (Kind.LOST_LEASE,)
    yield from (Reading(DRIFT, counts[kind], (kind,)) for kind in known)


def _workers(answers: Mapping[str, presence.Answer]) -> Iterator[Reading]:
    yield Reading(WORKERS, len(answers))
    staying = [answer for answer in answers.values() if not answer.is_leaving]
    yield Reading(PLACES, sum(answer.concurrency or 0 for answer in staying))
    yield Reading(MEMORY, sum(answer.memory_mb or 0.0 for answer in answers.values()) * 1024 * 1024)
    listening = Counter(dict.fromkeys(queues.PRIORITIES, 0))
    for answer in answers.values():
        listening.update(answer.queues)
    label_of = queue_labels(listening)
    shown: Counter[str] = Counter()
    for queue, count in listening.items():
        shown[label_of[queue]] += count
    yield from (Reading(LISTENING, count, (label,)) for label, count in shown.items())


PART = Part("workers", (BROKER, WORKERS, PLACES, MEMORY, LISTENING, DRIFT), _read, every=ASK_EVERY)
