"""Real workers and a real beat, killed at random: every job ends exactly once in the ledger.

On one stack: tests/chaos/test_jobs.py does worse to all of them.
"""

import signal
import time
from collections import Counter

import pytest

from longwave.jobs.models import Job, Status
from tests.houses import House, children_of, count, lives
from tests.installations import EMBEDDED

pytestmark = pytest.mark.chaos


def done(house: House) -> Counter[int]:
    """How often each number was worked on, as the witness knows."""
    return Counter(record["number"] for record in house.witness.records())


@pytest.mark.parametrize("house", [EMBEDDED], indirect=True)
def test_every_job_ends_exactly_once_although_children_and_workers_are_killed(house: House) -> None:
    house.submit(
        "room.work.submit_many([{'number': n} for n in range(100)])\n"
        "room.awaited.submit_many([{'number': n} for n in range(100, 200)])"
    )
    house.beat()
    worker = house.worker("--concurrency", "3")
    for least in (20, 50, 80):
        house.until(lambda least=least: count(Status.SUCCESS) >= least)
        children_of(worker)[0].kill()
    for least in (110, 150):
        house.until(lambda least=least: count(Status.SUCCESS) >= least)
        orphans = children_of(worker)
        worker.kill()
        worker.wait()
        house.until(lambda orphans=orphans: not any(lives(orphan) for orphan in orphans), seconds=3)
        worker = house.worker("--concurrency", "3")
    house.until(lambda: count(Status.SUCCESS) == 200)
    seen = done(house)
    for job in Job.objects.all():
        assert job.result == job.args["number"]
        assert 1 <= seen[job.result] <= 1 + job.crashes
    assert len(seen) == 200


@pytest.mark.parametrize("house", [EMBEDDED], indirect=True)
def test_a_stopping_worker_hands_its_jobs_over_within_two_seconds(house: House) -> None:
    house.submit("room.lane.submit()")
    worker = house.worker()
    house.until(lambda: count(Status.RUNNING) == 1)
    children = children_of(worker)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    house.until(lambda: count(Status.QUEUED) == 1, seconds=2)
    assert worker.wait(8) == 0
    assert time.monotonic() - began < 8
    assert not any(lives(child) for child in children)
    job = Job.objects.get()
    assert (job.attempt, job.failures, job.crashes, job.seq) == (0, 0, 0, 2)


@pytest.mark.parametrize("house", [EMBEDDED], indirect=True)
def test_a_job_that_kills_its_worker_is_failed_as_poison_and_the_rest_goes_on(house: House) -> None:
    house.submit("room.deadly.submit(); room.work.submit_many([{'number': n} for n in range(10)])")
    beat = house.beat()
    house.worker("--concurrency", "1")
    house.until(lambda: count(Status.FAILURE) == 1 and count(Status.SUCCESS) == 10)
    assert "died 2 times" in Job.objects.get(status=Status.FAILURE).error
    beat.send_signal(signal.SIGTERM)
    assert beat.wait(5) == 0


@pytest.mark.parametrize("house", [EMBEDDED], indirect=True)
def test_a_flushed_broker_loses_no_job(house: House) -> None:
    house.beat()
    worker = house.worker("--concurrency", "2")
    house.submit("room.work.submit_many([{'number': n} for n in range(150)])")
    house.until(lambda: count(Status.SUCCESS) >= 10)
    house.empty_broker()
    house.until(lambda: count(Status.SUCCESS) == 150)
    assert set(done(house).values()) == {1}
    assert worker.poll() is None


@pytest.mark.parametrize(
    "house", [EMBEDDED, "postgresql+rabbitmq"], indirect=True
)  # one of each sort of broker
def test_a_worker_says_who_it_is(house: House) -> None:
    worker = house.worker("--queues", "default,email", "--concurrency", "2")
    asked = "[presence.workers(), presence.listeners()]"
    answers, listeners = house.until(lambda: all(found := house.evaluate(asked)) and found)
    ((name, answer),) = answers.items()
    assert (answer["name"], answer["pid"], answer["queues"]) == (name, worker.pid, ["default", "email"])
    assert answer["concurrency"] == 2
    assert answer["memory_mb"] > 10
    assert "campaigns.lane" in answer["declares"]
    assert listeners == {"default": [name], "email": [name]}
