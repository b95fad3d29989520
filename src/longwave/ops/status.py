"""Everything at a glance: queues, workers, senders, campaigns. Read from the ledger, and asked of the workers."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from longwave.campaigns import report
from longwave.campaigns.models import Campaign, CampaignState
from longwave.jobs import pausing, presence, runner, stats
from longwave.jobs.models import Job, Status
from longwave.pacing import ledger as pacing
from longwave.senders import senders

MINUTE = timedelta(minutes=1)
RUNNING_READ = 1000
RUNNING_SHOWN = 10
"""Running jobs looked at, and named for one worker."""


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One queue.

    per_minute: jobs that ended well in the last minute. clears_in: seconds until the ready ones are done at that speed;
    None when it cannot be said. workers: how many listen; None when they could not be asked.
    """

    queue: str
    priority: int
    ready: int
    running: int
    scheduled: int
    retrying: int
    oldest_wait: float
    per_minute: int
    clears_in: float | None
    workers: int | None
    is_paused: bool


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One worker process. has_answered: False for one that is only known by the jobs that it runs."""

    name: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int | None
    memory_mb: float | None
    has_answered: bool
    jobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SenderLine:
    """One sender. rate: a second; None is unlimited. held_seconds: how long it still waits; held_reason: for what."""

    name: str
    rate: float | None
    status: str
    reason: str
    held_seconds: float
    held_reason: str


@dataclass(frozen=True, slots=True)
class CampaignLine:
    """One campaign that is on its way."""

    id: int
    name: str
    state: str
    reason: str
    recipients: int
    settled: int
    rate: float
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it, as it was at one moment. broker_answers: False while the workers cannot be asked."""

    queues: list[QueueLine]
    workers: list[WorkerLine]
    senders: list[SenderLine]
    campaigns: list[CampaignLine]
    broker_answers: bool


def look() -> Overview:
    """Look now. It asks the workers over the broker, which takes a second."""
    answers = presence.workers()
    return Overview(
        queues=_queues(answers),
        workers=_workers(answers or {}),
        senders=[_sender(sender) for sender in senders.all_senders()],
        campaigns=[_campaign(campaign) for campaign in _on_their_way()],
        broker_answers=answers is not None,
    )


def _queues(answers: Mapping[str, presence.Answer] | None) -> list[QueueLine]:
    paused, ended = pausing.paused(), _ended_lately()
    listening: dict[str, int] = defaultdict(int)
    for answer in (answers or {}).values():
        for queue in answer.queues:
            listening[queue] += 1
    return [
        QueueLine(
            queue=name,
            priority=status.priority,
            ready=status.ready,
            running=status.running,
            scheduled=status.scheduled,
            retrying=status.retrying,
            oldest_wait=round(status.oldest_wait, 1),
            per_minute=ended.get(name, 0),
            clears_in=_clears_in(status.ready, ended.get(name, 0)),
            workers=None if answers is None else listening[name],
            is_paused=name in paused,
        )
        for name, status in stats.queue_status().items()
    ]


def _ended_lately() -> dict[str, int]:
    ended = Job.objects.filter(status=Status.SUCCESS, finished_at__gte=Now() - MINUTE)
    return dict(ended.values_list("queue").annotate(Count("pk")).order_by())


def _clears_in(ready: int, per_minute: int) -> float | None:
    if not ready:
        return 0.0
    return round(ready / per_minute * 60, 1) if per_minute else None


def _workers(answers: Mapping[str, presence.Answer]) -> list[WorkerLine]:
    running = _running()
    lines = [
        WorkerLine(
            name=answer.name,
            host=answer.host,
            pid=answer.pid,
            queues=answer.queues,
            concurrency=answer.concurrency,
            memory_mb=answer.memory_mb,
            has_answered=True,
            jobs=running.pop((answer.host, answer.pid), []),
        )
        for answer in answers.values()
    ]
    silent = [
        WorkerLine(f"{host}:{pid}", host, pid, [], None, None, has_answered=False, jobs=jobs)
        for (host, pid), jobs in sorted(running.items())
    ]
    return lines + silent


def _running() -> dict[tuple[str, int], list[dict[str, Any]]]:
    """(host, pid of a worker) → the jobs that it runs, the longest first."""
    now = timezone.now()
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    rows = Job.objects.filter(status=Status.RUNNING).order_by("started_at")
    for row in rows.only("name", "queue", "owner", "started_at", "progress")[:RUNNING_READ]:
        jobs = found[runner.worker_of(row.owner)]
        if len(jobs) < RUNNING_SHOWN:
            seconds = (now - row.started_at).total_seconds() if row.started_at else 0.0
            shown = {"id": row.pk, "name": row.name, "queue": row.queue, "progress": row.progress}
            jobs.append(shown | {"seconds": round(seconds, 1)})
    return found


def _sender(sender: Any) -> SenderLine:
    held = pacing.state(senders.limit_key(sender.pk))
    return SenderLine(
        name=sender.name,
        rate=sender.rate,
        status=sender.status,
        reason=sender.status_reason,
        held_seconds=round(held.held_seconds, 1),
        held_reason=held.held_reason if held.held_seconds else "",
    )


def _on_their_way() -> QuerySet[Campaign]:
    states = (CampaignState.SCHEDULED, CampaignState.PREPARING, CampaignState.RUNNING, CampaignState.PAUSED)
    return Campaign.objects.filter(state__in=states).order_by("pk")


def _campaign(campaign: Campaign) -> CampaignLine:
    now = report.progress(campaign)
    return CampaignLine(
        id=campaign.pk,
        name=campaign.name,
        state=now.state,
        reason=now.reason,
        recipients=now.recipients,
        settled=now.settled,
        rate=round(now.rate, 1),
        eta_seconds=now.eta_seconds,
    )
