"""What each group of queues has to do now, measured in the ledger: what more workers would begin, and nothing else."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from django.db.models import Count, Exists, Min, OuterRef, QuerySet
from django.db.models.fields.json import KT

from longwave import database
from longwave.campaigns.lane import TURN
from longwave.core.scaling import Limits, Load
from longwave.jobs import doorbells
from longwave.jobs.models import Job, PausedQueue, Status
from longwave.ops.scaling.rates import LANE, SUBJECTS, Rates

RECENT, FIRST = 1_000, 10_000
"""The latest successes that run times are learned from: at each look, and at the first one."""

UNKNOWN = 1.0
"""Seconds that a job is taken to run where none of its name has ended yet."""

LONGEST_NUMBER = 18
"""Digits of a row's number that every database takes."""

NAMES = 1_000
"""Names of jobs whose run time is remembered. There are as many as the code declares."""

_TOTALS = {"count": Count("pk"), "since": Min("ready_at")}


@dataclass(frozen=True, slots=True)
class Group:
    """Queues that the same workers work on. queues: those of its regions too. concurrency: of one worker."""

    name: str
    queues: tuple[str, ...]
    concurrency: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Ready jobs that are counted together.

    subject: the sender or campaign whose slots they take, where they do. addresses: to how many different chats.
    """

    queue: str
    name: str
    count: int
    since: datetime
    subject: int | None = None
    addresses: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """All queues at one moment.

    places: queue → places that are taken. behind: queue → jobs that were claimed together with one that runs.
    """

    waiting: list[_Waiting]
    places: dict[str, int]
    behind: dict[str, int]
    rates: Rates
    at: datetime


class Meter:
    """Measures groups, again and again. It remembers how long jobs run, by name."""

    def __init__(self) -> None:
        self._run_seconds = {LANE: TURN}

    def measure(self, groups: Sequence[Group]) -> dict[str, Load]:
        """The load of each group by its name, as it is now."""
        self._learn()
        seen = _look({queue for group in groups for queue in group.queues})
        return {group.name: self._load(group, seen) for group in groups}

    def _learn(self) -> None:
        is_first = len(self._run_seconds) == 1
        found = run_times(FIRST if is_first else RECENT)
        found.pop(LANE, None)  # a lane that has ended had little left to send
        if len(self._run_seconds) < NAMES:
            self._run_seconds |= found

    def _load(self, group: Group, seen: _Seen) -> Load:
        ready = limited = 0
        seconds, oldest = 0.0, seen.at
        for one in (one for one in seen.waiting if one.queue in group.queues):
            useful = _useful(one, seen.rates, group.limits.target_wait)
            ready, limited = ready + useful, limited + one.count - useful
            seconds += useful * self._run_seconds.get(one.name, UNKNOWN)
            oldest = min(oldest, one.since) if useful else oldest
        behind = sum(seen.behind.get(queue, 0) for queue in group.queues)
        return Load(
            concurrency=group.concurrency,
            ready=ready + behind,
            running=sum(seen.places.get(queue, 0) for queue in group.queues),
            oldest_wait=max(0.0, (seen.at - oldest).total_seconds()),
            run_seconds=seconds / ready if ready else 0.0,
            limited=limited,
        )


def _useful(one: _Waiting, rates: Rates, within: float) -> int:
    if one.subject is None:
        return one.count
    return rates.useful(one.name, one.subject, one.count, one.addresses, within)


def _look(queues: Collection[str]) -> _Seen:
    open_queues = set(queues) - set(PausedQueue.objects.values_list("queue", flat=True))
    waiting, now_us = _waiting(open_queues), database.clock_us()
    places, behind = _running(queues)
    wanted = [(one.name, one.subject) for one in waiting if one.subject is not None]
    rates = Rates(wanted, _running_lanes(queues) if wanted else {}, now_us)
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=now_us)
    return _Seen(waiting, places, behind, rates, at)


def _waiting(queues: Collection[str]) -> list[_Waiting]:
    """Queued jobs, and of each serial key the first one, where no earlier one of it is still to end."""
    queued = Job.objects.filter(status=Status.QUEUED, queue__in=queues)
    behind = Exists(doorbells.earlier(OuterRef("serial_key"), OuterRef("pk")))
    in_line = queued.exclude(serial_key=None).filter(~behind)
    return [one for rows in (queued.filter(serial_key=None), in_line) for one in _counted(rows)]


def _counted(rows: QuerySet[Job]) -> Iterator[_Waiting]:
    """The rows by queue and name; those that take slots of a sender by the sender too, or by its campaign."""
    totals: Iterable[Any] = rows.values("queue", "name").annotate(**_TOTALS).order_by()
    slotted: dict[str, set[str]] = defaultdict(set)
    for row in totals:
        if row["name"] in SUBJECTS:
            slotted[row["name"]].add(row["queue"])
        else:
            yield _Waiting(**dict(row))
    for name, queues in slotted.items():
        yield from _by_subject(rows.filter(name=name, queue__in=queues), SUBJECTS[name])


def _by_subject(rows: QuerySet[Job], argument: str) -> Iterator[_Waiting]:
    asked: QuerySet[Any, Any] = rows.annotate(subject=KT(f"args__{argument}")).values(
        "queue", "name", "subject"
    )
    found = asked.annotate(addresses=Count(KT("args__address"), distinct=True), **_TOTALS)
    for row in found.order_by():
        yield _Waiting(**dict(row) | {"subject": _number(row["subject"])})


def _number(given: object) -> int | None:
    """An argument that says which sender or campaign. None for what is no number of a row: that job fails at once."""
    text = str(given)
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def _running(queues: Collection[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Places that are taken in each queue, and jobs that were claimed together with another and have not begun."""
    running = Job.objects.filter(status=Status.RUNNING, queue__in=queues).values_list("queue").order_by()
    # An owner is one claim of one place: of the jobs it claimed together it runs one at a time.
    rows = list(running.annotate(Count("owner", distinct=True), Count("pk")))
    return {queue: places for queue, places, _ in rows}, {
        queue: jobs - places for queue, places, jobs in rows
    }


def _running_lanes(queues: Collection[str]) -> dict[int, int]:
    """Campaign → its lanes that are at work."""
    lanes = Job.objects.filter(status=Status.RUNNING, name=LANE, queue__in=queues)
    found = lanes.annotate(subject=KT("args__campaign_id")).values_list("subject").annotate(Count("pk"))
    numbered = ((_number(campaign), count) for campaign, count in found.order_by())
    return {campaign: count for campaign, count in numbered if campaign is not None}


def run_times(limit: int) -> dict[str, float]:
    """Name → the median of how long its latest jobs ran, over the latest `limit` successes."""
    ended = Job.objects.filter(status=Status.SUCCESS).order_by("-finished_at")
    rows = ended.values_list("name", "owner", "started_at", "finished_at")[:limit]
    return {name: median(found) for name, found in _durations(rows).items()}


def _durations(rows: Iterable[tuple[str, str, Any, Any]]) -> dict[str, list[float]]:
    """What was claimed and written down together ran one after another: the whole time is divided among it."""
    together: dict[tuple[str, str], list[tuple[datetime, datetime]]] = defaultdict(list)
    for name, owner, started, finished in rows:
        if started is not None and finished is not None:
            together[name, owner].append((started, finished))
    found: dict[str, list[float]] = defaultdict(list)
    for (name, _), times in together.items():
        whole = max(end for _, end in times) - min(start for start, _ in times)
        found[name] += [max(0.0, whole.total_seconds()) / len(times)] * len(times)
    return found
