"""Why a job does not run, in words: each sentence names one thing, and what can be done about it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from django.db.models import Count, Min

from longwave import database
from longwave.jobs import broker, declare, doorbells, ledger, pausing, waiting
from longwave.jobs.models import FINISHED, Job, Status

Listeners = Mapping[str, Sequence[str]]
"""Queue → the workers that listen to it."""


def why(row: Job, listeners: Listeners | None, lacking: Collection[str] = ()) -> list[str]:
    """What keeps the job from running, the most decisive first; empty when it runs or has ended.

    listeners: None when the workers could not be asked. lacking: those of them that have no code for the job.
    """
    now = database.now()
    if row.status in FINISHED:
        return []
    if row.status == Status.RUNNING:
        return list(_stalled(row, now))
    found = [
        *_not_yet(row, now),
        *_nobody(row, listeners, lacking),
        *(_in_line(row) if row.status == Status.QUEUED else ()),
    ]
    return found or list(_next(row, listeners or {}, lacking))


def _stalled(row: Job, now: datetime) -> Iterator[str]:
    if row.lease_until is not None and row.lease_until < now:
        late = (now - row.lease_until).total_seconds()
        yield (
            f"Its worker ({row.owner}) has not been heard of for {late:.0f} s after its lease: the beat gives it to "
            "another. Does a beat run? `longwave doctor` says."
        )


def _not_yet(row: Job, now: datetime) -> Iterator[str]:
    if row.is_waiting:
        others = ", ".join(map(str, waiting.waits_for(row.pk)[:10]))
        yield f"It waits until the jobs it comes after have succeeded: {others}."
    if row.run_at is not None and row.run_at > now and row.status in (Status.SCHEDULED, Status.RETRY):
        has_failed = row.status == Status.RETRY and row.failures
        word = "It failed and is tried again" if has_failed else "It is to run"
        until = f"in {(row.run_at - now).total_seconds():.0f} s, at {row.run_at:%Y-%m-%d %H:%M:%S} UTC"
        yield f"{word} {until}{f': {row.wait_reason}' if row.wait_reason and not has_failed else ''}."
    if pause := pausing.paused().get(row.queue):
        yield f"Queue {row.queue} is {pause}. `longwave queue resume {row.queue}` lets it go on."


def _nobody(row: Job, listeners: Listeners | None, lacking: Collection[str]) -> Iterator[str]:
    if declare.get(row.name) is None:
        yield f"No code here declares {row.name}: it was renamed or removed, or LONGWAVE_MODULES lacks its module."
    if listeners is None:
        yield f"The broker is away, so no worker hears of it: {broker.how_to_start()}. It is rung for then."
    elif not listeners.get(row.queue):
        yield f"No worker that answered listens to queue {row.queue}; start one: `longwave worker -Q {row.queue}`."
    elif set(listeners[row.queue]) <= set(lacking):
        names = ", ".join(listeners[row.queue])
        yield (
            f"No worker that listens to queue {row.queue} ({names}) has code for {row.name}: "
            "they run another version, or their LONGWAVE_MODULES lacks its module."
        )


def _in_line(row: Job) -> Iterator[str]:
    if row.serial_key is not None:
        before = doorbells.earlier(row.serial_key, row.pk).aggregate(count=Count("pk"), first=Min("pk"))
        first = ledger.look(before["first"]) if before["count"] else None
        if first is not None:
            which = f"job {first.pk} ({first.status})"
            wanted = f"{_jobs(before['count'])} with the serial key {row.serial_key!r} must end first"
            yield f"{wanted}; the first of them is {which}: `longwave queue show {first.pk}`."
            return
    since = Job.objects.filter(pk=row.pk).values("ready_at")[
        :1
    ]  # as it is stored: SQLite's clock has milliseconds
    in_line = Job.objects.filter(status=Status.QUEUED, queue=row.queue, ready_at__lte=since)
    ahead = in_line.exclude(ready_at=since, pk__gte=row.pk).count()
    if ahead:
        yield f"{_jobs(ahead)} in queue {row.queue} {'was' if ahead == 1 else 'were'} ready before it."


def _next(row: Job, listeners: Listeners, lacking: Collection[str]) -> Iterator[str]:
    if row.status == Status.QUEUED:
        names = ", ".join(name for name in listeners.get(row.queue, ()) if name not in lacking)
        yield f"It is the next one in queue {row.queue}: it begins when one of its workers has a free place ({names})."


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"
