"""The ledger against the broker against the workers: what should be where, and is not."""

import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import psutil
from django.db.models import Count
from django.db.models.functions import Now
from django.utils import timezone

from longwave.jobs import broker, declare, pausing, presence, runner, sweep
from longwave.jobs.models import ACTIVE, Job, Status


@dataclass(frozen=True, slots=True)
class Drift:
    """One disagreement. is_harmless: it mends itself, or costs nothing. remedy: what to do, or what will happen."""

    what: str
    queue: str
    count: int
    remedy: str
    is_harmless: bool = False


def find() -> list[Drift]:
    """Everything that does not agree now. What was moving during the look may be named; look twice."""
    answers = presence.workers()
    if answers is None:
        remedy = "start it, or correct LONGWAVE_BROKER_URL; jobs are kept, and rung for when it is back"
        return [Drift("the broker does not answer", "", 0, remedy), *_lost_leases()]
    listening = {queue for answer in answers.values() for queue in answer.queues}
    return [
        *_unheard(listening),
        *_stale_messages(),
        *_lost_leases(),
        *_dead_workers({(answer.host, answer.pid) for answer in answers.values()}, psutil.pid_exists),
        *_unknown_code(),
    ]


def _ready() -> Mapping[str, int]:
    rows = Job.objects.filter(status=Status.QUEUED).values_list("queue").annotate(Count("pk")).order_by()
    return dict(rows)


def _unheard(listening: set[str]) -> Iterator[Drift]:
    paused = pausing.paused()
    for queue, count in _ready().items():
        if queue in paused:
            continue
        if queue not in listening:
            remedy = f"start one: longwave worker -Q {queue}"
            yield Drift("jobs wait, and no worker that answered listens", queue, count, remedy)
        lost = Job.objects.filter(status=Status.QUEUED, queue=queue, rung_at__lt=_heard_by_now())
        if broker.depth(queue) == 0 and (missing := lost.count()):
            remedy = f"a beat rings again for them within {sweep.UNHEARD_AFTER:g} s; does one run?"
            yield Drift("jobs wait, and the broker has no message for them", queue, missing, remedy)


def _heard_by_now() -> datetime:
    return timezone.now() - timedelta(seconds=2 * sweep.UNHEARD_AFTER)


def _stale_messages() -> Iterator[Drift]:
    ready = _ready()
    for queue in sorted({*ready, *pausing.paused()}):
        more = broker.depth(queue) - ready.get(queue, 0)
        if more > 0:
            yield Drift("more messages than jobs", queue, more, "workers drop them", is_harmless=True)


def _lost_leases() -> Iterator[Drift]:
    lost = Job.objects.filter(status=Status.RUNNING, lease_until__lt=Now())
    for queue, count in lost.values_list("queue").annotate(Count("pk")).order_by():
        remedy = "a beat gives them to other workers within a second; does one run?"
        yield Drift("jobs run without a lease", queue, count, remedy)


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
        yield Drift(f"jobs run in worker {pid}, which is gone", queue, count, remedy, is_harmless=True)


def _unknown_code() -> Iterator[Drift]:
    rows = Job.objects.filter(status__in=ACTIVE).values_list("name", "queue").annotate(Count("pk")).order_by()
    for name, queue, count in rows:
        if declare.get(name) is None:
            remedy = "it was renamed or removed, or LONGWAVE_MODULES lacks its module; or purge the queue"
            yield Drift(f"nothing here declares {name}", queue, count, remedy)
