"""The ledger against the broker against the workers: what should be where, and is not."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import psutil
from django.db.models import Count
from django.db.models.functions import Now

from longwave import database
from longwave.jobs import broker, declare, doorbells, pausing, presence, runner, sweep
from longwave.jobs.models import Job, Status

FIRST = 1000
"""Jobs of a queue, the oldest, that are looked at for code that there is not."""


class Kind(StrEnum):
    """In which way they do not agree."""

    BROKER_AWAY = "broker_away"  # the broker does not answer
    UNSERVED = "unserved"  # nobody who answered listens
    UNHEARD = "unheard"  # the broker has no message
    STALE_MESSAGE = "stale_message"  # the broker has one too many
    LOST_LEASE = "lost_lease"  # it runs, and nobody holds it
    DEAD_WORKER = "dead_worker"  # it runs in a process that is gone
    UNKNOWN_CODE = "unknown_code"  # nothing declares it


@dataclass(frozen=True, slots=True)
class Drift:
    """One disagreement. is_harmless: it mends itself, or costs nothing. remedy: what to do, or what will happen."""

    kind: Kind
    what: str
    queue: str
    count: int
    remedy: str
    is_harmless: bool = False


def find() -> list[Drift]:
    """Everything that does not agree now. What was moving during the look may be named; look twice."""
    answers = presence.workers()
    return [*compare(answers), *(_unknown_code() if answers is not None else ())]


def compare(answers: Mapping[str, presence.Answer] | None) -> list[Drift]:
    """The ledger against the broker and the workers that answered; None when they could not be asked."""
    if answers is None:
        remedy = f"{broker.how_to_start()}; jobs are kept, and rung for when it is back"
        return [Drift(Kind.BROKER_AWAY, "the broker does not answer", "", 0, remedy), *_lost_leases()]
    listening = {queue for answer in answers.values() for queue in answer.queues}
    return [
        *_unheard(listening),
        *_stale_messages(),
        *_lost_leases(),
        *_dead_workers({(answer.host, answer.pid) for answer in answers.values()}, psutil.pid_exists),
    ]


def _ready() -> Mapping[str, int]:
    rows = Job.objects.filter(status=Status.QUEUED).values_list("queue").annotate(count=Count("*")).order_by()
    return dict(rows)


def _unheard(listening: set[str]) -> Iterator[Drift]:
    paused = pausing.paused()
    for queue, count in _ready().items():
        if queue in paused:
            continue
        if queue not in listening:
            remedy = f"start one: longwave worker -Q {queue}"
            yield Drift(Kind.UNSERVED, "jobs wait, and no worker that answered listens", queue, count, remedy)
        lost = Job.objects.filter(status=Status.QUEUED, queue=queue, rung_at__lt=_heard_by_now())
        if broker.depth(queue) == 0 and (missing := lost.count()):
            remedy = f"a beat rings again for them within {sweep.UNHEARD_AFTER:g} s; does one run?"
            yield Drift(
                Kind.UNHEARD, "jobs wait, and the broker has no message for them", queue, missing, remedy
            )


def _heard_by_now() -> datetime:
    return database.now() - timedelta(seconds=2 * sweep.UNHEARD_AFTER)


def _stale_messages() -> Iterator[Drift]:
    ready = _ready()
    for queue in sorted({*ready, *pausing.paused()}):
        more = broker.depth(queue) - ready.get(queue, 0)
        if more > 0:
            yield Drift(
                Kind.STALE_MESSAGE,
                "more messages than jobs",
                queue,
                more,
                "workers drop them",
                is_harmless=True,
            )


def _lost_leases() -> Iterator[Drift]:
    lost = Job.objects.filter(status=Status.RUNNING, lease_until__lt=Now())
    for queue, count in lost.values_list("queue").annotate(Count("pk")).order_by():
        remedy = "a beat gives them to other workers within a second; does one run?"
        yield Drift(Kind.LOST_LEASE, "jobs run without a lease", queue, count, remedy)


def _dead_workers(answering: set[tuple[str, int]], lives: Callable[[int], bool]) -> Iterator[Drift]:
    """Running jobs of processes that are gone. Only this machine's can be told from those that are busy."""
    here = socket.gethostname()
    held = Job.objects.filter(status=Status.RUNNING, lease_until__gte=Now()).values_list("queue", "owner")
    dead: dict[tuple[str, int], int] = {}
    for queue, owner in held.iterator():
        host, pid = runner.worker_of(owner)
        if host == here and (host, pid) not in answering and not lives(pid):
            dead[queue, pid] = dead.get((queue, pid), 0) + 1
    for (queue, pid), count in sorted(dead.items()):
        remedy = "they are given to others when their leases run out"
        yield Drift(
            Kind.DEAD_WORKER,
            f"jobs run in worker {pid}, which is gone",
            queue,
            count,
            remedy,
            is_harmless=True,
        )


def _unknown_code() -> Iterator[Drift]:
    """Among the first of each queue: what nobody can run stays there, so more of it would not tell more."""
    for queue in doorbells.first_in_line():
        line = Job.objects.filter(status=Status.QUEUED, queue=queue).order_by("ready_at")
        for name, count in Counter(line.values_list("name", flat=True)[:FIRST]).items():
            if declare.get(name) is None:
                remedy = "it was renamed or removed, or LONGWAVE_MODULES lacks its module; or purge the queue"
                what = f"nothing here declares {name}"
                yield Drift(Kind.UNKNOWN_CODE, what, queue, count, remedy)
