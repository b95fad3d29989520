"""Everything at a glance: queues, workers, senders, campaigns. Read from the ledger, and asked of the workers."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet, Value
from django.db.models.functions import Concat, Now

from longwave import database
from longwave.campaigns import report
from longwave.campaigns.models import Campaign, CampaignState
from longwave.jobs import declare, pausing, presence, runner, stats
from longwave.jobs.models import Job, Status
from longwave.ops.scaling import published
from longwave.ops.scaling.published import Published
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
    pause: None while it is not paused.
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
    pause: pausing.Pause | None


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One worker process. has_answered: False for one that is only known by the jobs that it runs.

    is_leaving: its jobs end, and it takes nothing new.
    last_seen: seconds since it answered, or renewed the lease of one of its jobs.
    """

    name: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int | None
    memory_mb: float | None
    has_answered: bool
    last_seen: float
    jobs: list[dict[str, Any]] = field(default_factory=list)
    is_leaving: bool = False


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
    """All of it, as it was at one moment.

    scaling: of each group that `longwave autoscale` looks at. broker_answers: False while the workers cannot be asked.
    """

    queues: list[QueueLine]
    workers: list[WorkerLine]
    senders: list[SenderLine]
    campaigns: list[CampaignLine]
    scaling: list[Published]
    broker_answers: bool


def look() -> Overview:
    """Look now. It asks the workers over the broker, which takes a second."""
    answers = presence.workers()
    return Overview(
        queues=_queues(answers),
        workers=_workers(answers or {}),
        senders=[_sender(sender) for sender in senders.all_senders()],
        campaigns=[_campaign(campaign) for campaign in _on_their_way()],
        scaling=[group for group in published.groups() if not group.is_over],
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
            pause=paused.get(name),
        )
        for name, status in stats.queue_status().items()
    ]


def _ended_lately() -> dict[str, int]:
    ended = Job.objects.filter(status=Status.SUCCESS, finished_at__gte=Now() - MINUTE)
    # By an expression, not by the column: SQLite would take the index that has the queues in order, and read all.
    by_queue = ended.annotate(of=Concat("queue", Value(""))).values_list("of")
    return dict(by_queue.annotate(count=Count("*")).order_by())


def _clears_in(ready: int, per_minute: int) -> float | None:
    if not ready:
        return 0.0
    return round(ready / per_minute * 60, 1) if per_minute else None


@dataclass
class _Busy:
    """The jobs that a worker runs, the longest first, and how long ago it renewed the lease of one."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    last_seen: float = float("inf")


def _workers(answers: Mapping[str, presence.Answer]) -> list[WorkerLine]:
    busy = _busy()
    lines = [
        WorkerLine(
            name=answer.name,
            host=answer.host,
            pid=answer.pid,
            queues=answer.queues,
            concurrency=answer.concurrency,
            memory_mb=answer.memory_mb,
            has_answered=True,
            last_seen=0.0,
            jobs=busy.pop((answer.host, answer.pid), _Busy()).jobs,
            is_leaving=answer.is_leaving,
        )
        for answer in answers.values()
    ]
    silent = [
        WorkerLine(
            f"{host}:{pid}", host, pid, [], None, None, False, round(known.last_seen, 1), jobs=known.jobs
        )
        for (host, pid), known in sorted(busy.items())
    ]
    return lines + silent


def _busy() -> dict[tuple[str, int], _Busy]:
    """(host, pid of a worker) → what it runs."""
    now = database.now()
    found: dict[tuple[str, int], _Busy] = defaultdict(_Busy)
    rows = Job.objects.filter(status=Status.RUNNING).order_by("started_at")
    for row in rows.only("name", "queue", "owner", "started_at", "lease_until", "progress")[:RUNNING_READ]:
        worker = found[runner.worker_of(row.owner)]
        worker.last_seen = min(worker.last_seen, _since_renewal(row, now))
        if len(worker.jobs) < RUNNING_SHOWN:
            seconds = (now - row.started_at).total_seconds() if row.started_at else 0.0
            shown = {"id": row.pk, "name": row.name, "queue": row.queue, "progress": row.progress}
            worker.jobs.append(shown | {"seconds": round(seconds, 1)})
    return found


def _since_renewal(row: Job, now: datetime) -> float:
    """Seconds since the job's lease was renewed: a lease ends so long after that as its job was declared with."""
    declared = declare.get(row.name)
    lease = declared.lease if declared else declare.LEASE
    left = (row.lease_until - now).total_seconds() if row.lease_until else 0.0
    return max(0.0, lease - left)


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
