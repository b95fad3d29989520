"""Stages on real workers that are killed on the way: each begins after those it waits for, and none is left waiting."""

import pytest

from longwave.jobs.models import Job, Status, Wait
from tests.integration.test_jobs_processes import House, children_of, count, house, until

__all__ = ["house"]

pytestmark = pytest.mark.chaos

CHAINS = 30
SUBMIT = f"""
for number in range({CHAINS}):
    first = tasks.work.submit(number=number).id
    second = tasks.work.submit(number=number + 100, job_after=[first]).id
    tasks.work.submit(number=number + 200, job_after=[first, second])
"""


def test_stages_run_in_order_although_children_and_workers_are_killed(house: House) -> None:
    house.start("beat()")
    worker = house.start("worker(concurrency=3)")
    house.submit("\n" + SUBMIT)
    for done in (10, 30, 50):
        until(lambda done=done: count(Status.SUCCESS) >= done, house)
        children_of(worker)[0].kill()
    until(lambda: count(Status.SUCCESS) >= 60, house)
    worker.kill()
    worker.wait()
    house.start("worker(concurrency=3)")
    until(lambda: count(Status.SUCCESS) == 3 * CHAINS, house)
    jobs = list(Job.objects.order_by("pk"))
    for first, second, third in zip(jobs[::3], jobs[1::3], jobs[2::3], strict=True):
        assert first.finished_at <= second.started_at
        assert second.finished_at <= third.started_at
    assert Wait.objects.count() == 0
    assert not Job.objects.filter(is_waiting=True).exists()
