"""A ledger that has been in use for long: no statement reads what has ended to find what is asked for.

The planners of the three databases are asked, about the very statements that the code runs. SQLite plans without
looking at how much there is, so it gets less.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from longwave.jobs import (
    cancelling,
    deserted,
    doorbells,
    epoch,
    explaining,
    failed,
    job,
    leases,
    ledger,
    listing,
    pausing,
    presence,
    prune,
    stats,
    sweep,
    timeline,
    waiting,
)
from longwave.jobs.failed import Wanted
from longwave.jobs.listing import Sought
from longwave.jobs.models import Job, Status
from longwave.ops import drift, status
from longwave.testing import full_ledger
from longwave.testing.full_ledger import Use
from tests import plans

pytestmark = pytest.mark.usefixtures("rung")

USED = {"sqlite": Use(ended=3_000, queued=1_000)}
ELSEWHERE = Use(ended=60_000, queued=6_000)

Act = Callable[[], Any]


@job("size.work", queue="email")
def work(number: int = 0) -> int:
    """Give it back."""
    return number


def one(status: Status, **wanted: Any) -> Job:
    return Job.objects.filter(status=status, **wanted)[0]


def some(status: Status, **wanted: Any) -> list[Job]:
    return list(Job.objects.filter(status=status, **wanted)[:50])


def claims() -> list[ledger.Claim]:
    return [ledger._claimed(row, row.owner, 1, row.started_at) for row in some(Status.RUNNING)]


def hot() -> Iterator[tuple[str, Act]]:
    """What every job costs."""
    free, behind = one(Status.QUEUED, serial_key=None), one(Status.QUEUED, serial_key__isnull=False)
    alike = [(row.pk, row.seq) for row in some(Status.QUEUED, name=free.name, serial_key=None)]
    held = claims()
    first, ended = held[0], [(held, None) for held in held]
    yield "submit", lambda: work.submit()
    yield "submit with keys", lambda: work.submit(job_serial_key="chat:1", job_dedupe_key="once")
    yield "submit that waits", lambda: work.submit(job_after=[free.pk, behind.pk])
    yield "submit many", lambda: work.submit_many([{} for _ in range(50)])
    yield "claim", lambda: ledger.claim(free, free.seq, "me", 30.0)
    yield "claim in line", lambda: ledger.claim(behind, behind.seq, "me", 30.0)
    yield "claim many", lambda: ledger.claim_many(free.name, alike, "me", 30.0)
    yield "renew", lambda: leases.renew(first.id, first.seq, first.owner, 30.0)
    yield "checkpoint", lambda: leases.checkpoint(first.id, first.seq, first.owner, 1)
    yield "finish", lambda: ledger.finish(first, None)
    yield "finish many", lambda: waiting.finish_many(first.owner, ended)
    yield "finish awaited", lambda: leases.finish_awaited(first, None)
    yield "hand on", lambda: leases.hand_on(first.owner, held)
    yield "fail", lambda: leases.fail(first, "e", "t")
    yield "retry", lambda: leases.retry(first, 10.0, "e", "t")
    yield "still queued", lambda: doorbells.still_queued([job_id for job_id, _ in alike])
    yield "mark unrung", lambda: doorbells.mark_unrung([job_id for job_id, _ in alike])
    yield "cancel", lambda: cancelling.cancel(free.pk, "not wanted")


def chores() -> Iterator[tuple[str, Act]]:
    """What the beat asks, most of it every second."""
    ended = [row.pk for row in some(Status.SUCCESS)]
    yield "due", sweep.queue_due
    yield "expired", lambda: deserted.expired(1000)
    yield "owned by", lambda: deserted.owned_by("worker-1:100:")
    yield "queues with ready jobs", doorbells.queues_with_ready_jobs
    yield "unrung", lambda: doorbells.unrung("email", 1000)
    yield "rung before", lambda: doorbells.rung_before("email", 5.0, 1000)
    yield "ring everything", epoch.ring_everything
    yield "resume", lambda: (pausing.pause("email"), pausing.resume("email"))
    yield "prune", prune.prune
    yield "settle", waiting.settle
    yield "release", lambda: waiting.release_all(ended)


def asked() -> Iterator[tuple[str, Act]]:
    """What people and pages ask."""
    queued, behind = one(Status.QUEUED, serial_key=None), one(Status.QUEUED, serial_key__isnull=False)
    lately = timezone.now() - timedelta(hours=2)
    wishes = {
        "all": Wanted(),
        "queue": Wanted(queue="email"),
        "name": Wanted(name="used.3"),
        "since": Wanted(since=lately),
        "grep": Wanted(grep="timeout"),
        "grep in vain": Wanted(grep="nowhere"),
        "ids": Wanted(ids=tuple(row.pk for row in some(Status.FAILURE))),
    }
    for name, wanted in wishes.items():
        yield f"failed, {name}", lambda wanted=wanted: failed.find(wanted, 50)
        yield f"failed, {name}, how many", lambda wanted=wanted: failed.count(wanted)
        yield f"retry, {name}", lambda wanted=wanted: failed.rerun(wanted)
    for name, sought in {
        "jobs": Sought(),
        "jobs of a queue": Sought(queue="email"),
        "jobs of a name": Sought(name="used.3"),
        "jobs of a key": Sought(serial_key="chat:1"),
        "jobs that succeeded": Sought((Status.SUCCESS,)),
    }.items():
        yield name, lambda sought=sought: listing.find(sought, 50)
    yield "jobs, how many", lambda: listing.count(Sought())
    yield "forget", lambda: failed.forget(Wanted())
    yield "queues", stats.queue_status
    yield "workers", stats.worker_stats
    yield "ended lately", status._ended_lately
    yield "running", status._busy
    yield "busy", presence._busy
    yield "why", lambda: explaining.why(queued, {})
    yield "why in line", lambda: explaining.why(behind, {})
    yield "timeline", lambda: timeline.timeline_of(queued.pk)
    yield (
        "work by hand",
        lambda: Job.objects.filter(queue="email", status=Status.QUEUED).order_by("ready_at").first(),
    )
    yield "purge", lambda: cancelling.purge("email", "not wanted")
    yield "cancel all", lambda: cancelling.cancel_all("not wanted", name="used.3")
    yield "drift: ready", drift._ready
    yield "drift: unheard", lambda: list(drift._unheard(set()))
    yield "drift: leases", lambda: list(drift._lost_leases())
    yield "drift: dead workers", lambda: list(drift._dead_workers(set(), lambda pid: True))
    yield "drift: unknown code", lambda: list(drift._unknown_code())


FEW = {
    "expired": "those that run",
    "running": "those that run",
    "cancel": "those of one serial key",
    "submit that waits": "those that it names",
    "retry, ids": "those that are named",
    "failed, ids": "those that are named",
    "jobs": "those that run, as many as workers have places",
    "jobs of a queue": "those of it that run",
    "jobs of a name": "those of it that run",
    "jobs of a key": "those that have one key and have not ended",
}
"""What sorts, and why that is little."""


def test_no_statement_reads_or_sorts_what_has_ended(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "count_workers", lambda: 0)
    monkeypatch.setattr(drift.broker, "depth", lambda queue: 0)
    full_ledger.fill(USED.get(database.split(":")[0], ELSEWHERE))
    wrong = [
        f"{name} {word}"
        for name, act in hot()
        for word in plans.complaints(act, sorts_few=name in FEW, by_id=True)
    ]
    for name, act in [*chores(), *asked()]:
        wrong += [f"{name} {word}" for word in plans.complaints(act, sorts_few=name in FEW)]
    assert not wrong, "\n\n".join(wrong)


def test_a_burst_is_found_by_its_ids_while_postgresql_still_counts_few_jobs(database: str) -> None:
    if not database.startswith("postgresql"):
        pytest.skip("plans these statements without counting")
    full_ledger.fill(Use(ended=0, queued=100, running=10, waiting=10))  # what its statistics were made of
    # With fewer it may well read a small table as a whole.
    ids = work.submit_many([{} for _ in range(60_000)])
    held = ledger.claim_many("size.work", [(job_id, 1) for job_id in ids[:50]], "me", 30.0)
    assert len(held) == 50
    ended, more = [(one, None) for one in held], [(job_id, 1) for job_id in ids[50:100]]
    assert plans.are_found_by_id(lambda: ledger.finish_many("me", ended))
    assert plans.are_found_by_id(lambda: ledger.claim_many("size.work", more, "me", 30.0))
