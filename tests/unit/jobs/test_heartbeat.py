"""Leases: renewed while a job runs, and known to be lost without asking anybody."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from longwave.jobs import heartbeat, job_context, leases
from longwave.jobs.job_context import JobContext, LeaseLost
from longwave.jobs.models import Job, Status


def running(lease: float) -> tuple[Job, JobContext]:
    row = Job.objects.create(
        name="a.b",
        queue="default",
        status=Status.RUNNING,
        owner="me",
        lease_until=Now() + timedelta(seconds=lease),
    )
    context = JobContext(row.pk, 1, 1, 0, "me", None, leases.checkpoint)
    context.hold_until(job_context.now() + lease)
    return row, context


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lease_is_renewed_for_as_long_as_the_job_runs(sqlite: str) -> None:
    row, context = running(0.3)
    first = job_context.now()
    with heartbeat.renewing(context, 0.3):
        until(lambda: job_context.now() > first + 0.7)
        assert not context.lost()
        row.refresh_from_db()
        assert row.lease_until is not None
        assert row.lease_until > timezone.now()
    until(context.lost)


def test_a_thread_that_could_not_be_started_is_started_for_the_next_job(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    heartbeat._forget_after_fork()  # a process in which no job has run
    _, refused = running(0.3)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            heartbeat.renewing(refused, 0.3).__enter__()
    _, context = running(0.3)
    first = job_context.now()
    with heartbeat.renewing(context, 0.3):
        until(lambda: job_context.now() > first + 0.7)
        assert not context.lost()
        assert refused.lost()


def test_short_jobs_cost_no_renewal(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[int] = []
    monkeypatch.setattr(leases, "renew", lambda job_id, *_: renewed.append(job_id) or True)
    for _ in range(20):
        _, context = running(30)
        with heartbeat.renewing(context, 30):
            pass
    with heartbeat.renewing(context, 0.03):
        until(lambda: bool(renewed))
    assert set(renewed) == {context.id}


def test_a_lease_that_somebody_else_has_is_lost_at_the_next_beat(sqlite: str) -> None:
    row, context = running(30.0)
    Job.objects.filter(pk=row.pk).update(owner="another")
    assert not context.lost()
    with heartbeat.renewing(context, 0.15):
        until(context.lost)
    row.refresh_from_db()
    assert row.owner == "another"
    assert row.lease_until is not None
    assert row.lease_until > timezone.now() + timedelta(seconds=10)  # theirs, and not renewed by us


def test_a_lease_ends_by_our_own_clock_when_nobody_can_be_asked(sqlite: str) -> None:
    _, context = running(0.05)
    assert not context.lost()
    until(context.lost)


def test_a_checkpoint_without_the_lease_is_refused(sqlite: str) -> None:
    row, context = running(30)
    context.checkpoint("mine")
    assert context.saved == "mine"
    Job.objects.filter(pk=row.pk).update(seq=2)
    with pytest.raises(LeaseLost):
        context.checkpoint("too late")
    assert context.lost()
    row.refresh_from_db()
    assert row.checkpoint == "mine"


def test_there_is_no_context_outside_of_a_job() -> None:
    with pytest.raises(LookupError):
        job_context.current()
