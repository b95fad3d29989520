"""Leases are renewed while somebody else's transaction has a row: that of one job keeps no other waiting."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now

from longwave.jobs import cancelling, heartbeat, job_context, leases
from longwave.jobs.job_context import JobContext
from longwave.jobs.models import Job, Status
from tests.waiting import until

LEASE = 0.6


def running() -> JobContext:
    ends = Now() + timedelta(seconds=LEASE)
    row = Job.objects.create(name="a.b", queue="default", status=Status.RUNNING, owner="me", lease_until=ends)
    context = JobContext(row.pk, 1, 1, 0, "me", None, leases.checkpoint)
    context.hold_until(job_context.now() + LEASE)
    return context


@contextmanager
def cancelled_in_a_long_transaction(job_id: int) -> Iterator[None]:
    """As a bot may do it that cancels a job, and then goes on for a while before it commits."""
    has_cancelled, may_commit = threading.Event(), threading.Event()

    def cancel() -> None:
        try:
            with transaction.atomic():
                cancelling.cancel(job_id, "not needed")
                has_cancelled.set()
                assert may_commit.wait(20)
        finally:
            connections.close_all()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        assert has_cancelled.wait(5)
        yield
    finally:
        may_commit.set()
        thread.join()


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.usefixtures("database", "rung")
def test_a_row_that_somebody_has_locked_keeps_no_other_lease_waiting() -> None:
    locked, other = running(), running()
    began = job_context.now()
    with ExitStack() as stack:
        for context in (locked, other):
            stack.enter_context(heartbeat.renewing(context, LEASE))
        with cancelled_in_a_long_transaction(locked.id):
            until(lambda: job_context.now() > began + 3 * LEASE or other.lost(), 5, lambda: "")
            assert not other.lost()
            assert not Job.objects.filter(pk=other.id, lease_until__lt=Now()).exists()
        until(lambda: not locked.lost(), 5, lambda: "its lease is renewed when the row is free")


@pytest.mark.usefixtures("database")
def test_whether_a_lease_is_gone_is_told_from_whether_somebody_has_the_row() -> None:
    context = running()
    assert leases.renew(context.id, 1, "me", LEASE) is True
    assert leases.renew(context.id, 1, "another", LEASE) is False
    assert leases.renew(context.id, 2, "me", LEASE) is False
