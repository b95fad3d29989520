"""What dead workers held is free at once; what living ones hold stays theirs."""

import os
import subprocess
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from longwave.jobs import runner
from longwave.jobs.models import Job, Status
from longwave.ops import returning

pytestmark = pytest.mark.usefixtures("database")


def _running(pid: int, *, host: str = "") -> Job:
    prefix = runner.owner_prefix(pid)
    owner = (host + prefix[prefix.index(":") :] if host else prefix) + f"{pid + 1}:abcd"
    lease = Now() + timedelta(minutes=5)
    return Job.objects.create(
        name="x", queue="default", status=Status.RUNNING, owner=owner, lease_until=lease
    )


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
