"""What dead workers held is free at once; what living ones hold stays theirs."""

import os
import subprocess
from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from longwave.jobs import broker, runner
from longwave.jobs.models import Job, Status
from longwave.ops import returning

pytestmark = pytest.mark.usefixtures("database")


def _running(pid: int, *, host: str = "") -> Job:
    prefix = runner.owner_prefix(pid)
    return _held_by((host + prefix[prefix.index(":") :] if host else prefix) + f"{pid + 1}:abcd")


def _held_by(owner: str, **values: object) -> Job:
    lease = Now() + timedelta(minutes=5)
    held = {"name": "x", "queue": "default", "status": Status.RUNNING, "owner": owner, "lease_until": lease}
    return Job.objects.create(**held | {"attempt": 1} | values)


def _dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        return process.pid


def test_the_jobs_of_a_dead_worker_are_queued_again_at_once() -> None:
    pid = _dead_pid()
    job = _running(pid)
    assert returning.return_work([pid]) == 1
    job.refresh_from_db()
    assert (job.status, job.crashes, job.seq) == (Status.QUEUED, 1, 2)


def test_a_pid_that_lives_again_is_somebody_else_s() -> None:
    job = _running(os.getpid())
    assert returning.return_work([os.getpid()]) == 0
    job.refresh_from_db()
    assert job.status == Status.RUNNING


def test_the_same_pid_on_another_machine_and_a_longer_pid_are_left_alone() -> None:
    pid = _dead_pid()
    others = [_running(pid, host="elsewhere"), _running(pid * 10)]
    assert returning.return_work([pid]) == 0
    assert {Job.objects.get(pk=job.pk).status for job in others} == {Status.RUNNING}


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The pairs of what the broker was rung for."""
    pairs: list[tuple[int, int]] = []

    def publish(_: str, __: str, messages: Sequence[Sequence[tuple[int, int]]]) -> None:
        pairs.extend(pair for message in messages for pair in message)

    monkeypatch.setattr(broker, "publish", publish)
    return pairs


def test_what_a_stopped_worker_has_left_is_queued_again_and_is_no_crash(
    rung: list[tuple[int, int]],
) -> None:
    left = _held_by(f"{runner.own_prefix()}7:abcd", checkpoint=5)
    others = [_held_by(f"{runner.owner_prefix(os.getpid())}ffff.7:abcd"), _running(os.getpid())]
    assert returning.hand_over(runner.own_prefix()) == 1
    left.refresh_from_db()
    assert (left.status, left.crashes, left.failures, left.attempt) == (Status.QUEUED, 0, 0, 1)
    assert (left.seq, left.owner, left.checkpoint, left.lease_until) == (2, "", 5, None)
    assert rung == [(left.pk, 2)]
    assert {Job.objects.get(pk=job.pk).status for job in others} == {Status.RUNNING}


def test_what_had_all_the_time_that_a_job_may_have_costs_a_crash_and_is_given_up_for_it(
    rung: list[tuple[int, int]],
) -> None:
    first, third = (_held_by(f"{runner.own_prefix()}7:{n}", crashes=n) for n in (0, 2))
    assert returning.hand_over(runner.own_prefix(), is_crash=True) == 2
    first.refresh_from_db()
    third.refresh_from_db()
    assert (first.status, first.crashes) == (Status.QUEUED, 1)
    assert (third.status, third.crashes) == (Status.FAILURE, 3)
    assert rung == [(first.pk, 2)]


def test_what_was_to_stop_anyway_is_cancelled_when_its_worker_is_stopped(
    rung: list[tuple[int, int]],
) -> None:
    left = _held_by(f"{runner.own_prefix()}7:abcd", cancel_reason="not needed")
    assert returning.hand_over(runner.own_prefix()) == 1
    left.refresh_from_db()
    assert (left.status, left.cancel_reason, rung) == (Status.CANCELLED, "not needed", [])
