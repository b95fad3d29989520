"""A job whose row a bot's open transaction has locked keeps no other one waiting: neither its lease nor the beat.

On PostgreSQL, which locks the rows that are changed and no others. Which more MariaDB locks in a table of two rows
depends on its statistics.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django.utils import timezone

from longwave.jobs import broker, cancelling, heartbeat, job, job_context, leases, sweep
from longwave.jobs.job_context import JobContext
from longwave.jobs.models import Job, Status
from tests.waiting import until

GIVE_UP_SOON = "SET lock_timeout = '1s'"
LEASE = 0.6


@job("locked.example")
def example() -> None:
    """Nothing."""


def statuses(*ids: int) -> list[str]:
    found = Job.objects.in_bulk(ids)
    return [found[job_id].status for job_id in ids]


def running() -> JobContext:
    ends = Now() + timedelta(seconds=LEASE)
    row = Job.objects.create(name="a.b", queue="default", status=Status.RUNNING, owner="me", lease_until=ends)
    context = JobContext(row.pk, 1, 1, 0, "me", None, leases.checkpoint)
    context.hold_until(job_context.now() + LEASE)
    return context


@contextmanager
def in_a_long_transaction(work: Callable[[], object]) -> Iterator[None]:
    """As a bot may do it that cancels a job, and then goes on for a while before it commits."""
    is_done, may_commit = threading.Event(), threading.Event()

    def keep_open() -> None:
        try:
            with transaction.atomic():
                work()
                is_done.set()
                assert may_commit.wait(20)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        open_one = pool.submit(keep_open)
        try:
            assert is_done.wait(5)
            yield
        finally:
            may_commit.set()
        open_one.result()


def in_time(work: Callable[[], object]) -> object:
    """What `work` answers. Fails when it waits for a lock."""

    def do() -> object:
        try:
            with connection.cursor() as cursor:
                cursor.execute(GIVE_UP_SOON)
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(do).result()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("database", "rung")
def test_a_row_that_somebody_has_locked_keeps_no_other_lease_waiting() -> None:
    locked, other = running(), running()
    began = job_context.now()
    with ExitStack() as stack:
        for context in (locked, other):
            stack.enter_context(heartbeat.renewing(context, LEASE))
        with in_a_long_transaction(lambda: cancelling.cancel(locked.id, "not needed")):
            until(lambda: job_context.now() > began + 3 * LEASE or other.lost(), 5, lambda: "")
            assert not other.lost()
            assert not Job.objects.filter(pk=other.id, lease_until__lt=Now()).exists()
        until(lambda: not locked.lost(), 5, lambda: "its lease is renewed when the row is free")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("database", "rung")
def test_what_is_due_is_queued_beside_what_somebody_has_locked() -> None:
    locked, other = (example.submit(job_run_at=timezone.now() + timedelta(hours=1)).id for _ in range(2))
    Job.objects.update(run_at=Now() - timedelta(seconds=1))
    with in_a_long_transaction(lambda: cancelling.cancel(locked, "not needed")):
        assert in_time(sweep.queue_due) == 1
    assert statuses(locked, other) == [Status.CANCELLED, Status.QUEUED]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("database", "rung")
def test_what_died_is_returned_beside_what_somebody_has_locked() -> None:
    locked, other = running(), running()
    Job.objects.update(lease_until=Now() - timedelta(seconds=1))
    with in_a_long_transaction(lambda: cancelling.cancel(locked.id, "not needed")):
        assert in_time(sweep.return_expired) == 1
    assert statuses(locked.id, other.id) == [Status.RUNNING, Status.QUEUED]
    assert sweep.return_expired() == 1
    assert statuses(locked.id) == [Status.CANCELLED]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("database")
def test_what_was_not_heard_is_rung_for_beside_what_somebody_has_locked(
    rung: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "depth", lambda _: 0)
    locked, other = example.submit().id, example.submit().id
    Job.objects.update(rung_at=Now() - timedelta(seconds=10))
    rung.clear()
    with in_a_long_transaction(lambda: example.submit(job_after=[locked])):
        assert in_time(sweep.ring_unheard) == 1
    assert rung == [(other, 1)]
    assert sweep.ring_unheard() == 1


@pytest.mark.usefixtures("database")
def test_whether_a_lease_is_gone_is_told_from_whether_somebody_has_the_row() -> None:
    context = running()
    assert leases.renew(context.id, 1, "me", LEASE) is True
    assert leases.renew(context.id, 1, "another", LEASE) is False
    assert leases.renew(context.id, 2, "me", LEASE) is False
