"""Real workers that are stopped, replaced, grow too large or go deaf: every job runs once, and nothing is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from longwave.jobs.models import Job, Status
from tests.health.house import JOBS, done, inhabited, submit, traces
from tests.houses import House
from tests.waiting import pass_time

pytestmark = pytest.mark.chaos


@pytest.fixture(params=["sqlite+redis", "postgresql+rabbitmq"])
def house(request: pytest.FixtureRequest, home: Path) -> Iterator[House]:
    with inhabited(request.param, home) as running:
        yield running


on_two_of_four = pytest.mark.parametrize(
    ("house", "pool"), [("sqlite+redis", "prefork"), ("postgresql+rabbitmq", "threads")], indirect=["house"]
)
on_redis = pytest.mark.parametrize("house", ["sqlite+redis"], indirect=True)


def children_of(process: "subprocess.Popen[bytes]") -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children()]


def listens(house: House) -> bool:
    return bool(house.evaluate("presence.listeners()"))


def test_a_rolling_restart_loses_and_repeats_nothing(house: House) -> None:
    house.beat()
    first, second = house.ready_worker("-c", "2"), house.ready_worker("--pool", "threads", "-c", "2")
    for number, (old, options) in enumerate(((first, ()), (second, ("--pool", "threads")))):
        start = number * 500
        submit(house, f"jobs.short.submit_many([{{'number': {start} + n}} for n in range(500)])")
        house.until(lambda start=start: done("health.short") > start + 50, 30)
        house.worker("-c", "2", *options)
        # As systemd does it: to all of its processes.
        os.killpg(old.pid, signal.SIGTERM)
        assert old.wait(20) == 0
    house.until(lambda: done("health.short") == 1000, 60)
    assert Counter(traces(house)) == {str(number): 1 for number in range(1000)}
    assert set(Job.objects.values_list("crashes", "failures", "attempt")) == {(0, 0, 1)}
    assert house.events("jobs_cut_off") == 0


@on_two_of_four
def test_a_job_that_does_not_end_is_given_back_and_runs_elsewhere_from_its_checkpoint(
    house: House, pool: str
) -> None:
    worker = house.ready_worker("--pool", pool, "--grace", "1")
    submit(house, "jobs.stubborn.submit(seconds=4)")
    house.until(lambda: len(traces(house)) == 1, 20)
    worker.terminate()
    assert worker.wait(15) == 0
    assert house.events("jobs_cut_off") == 1
    job = Job.objects.get()
    assert (job.status, job.crashes, job.failures, job.seq) == (Status.QUEUED, 0, 0, 2)
    house.ready_worker("--pool", pool)
    house.until(lambda: done("health.stubborn") == 1, 20)
    assert traces(house) == ["begun-at-0 attempt-1", "begun-at-5 attempt-2", "ended"]


@on_redis
def test_told_twice_a_worker_ends_at_once_and_still_gives_back(house: House) -> None:
    worker = house.ready_worker()
    submit(house, "jobs.stubborn.submit(seconds=60)")
    house.until(lambda: len(traces(house)) == 1, 20)
    children, told = children_of(worker), time.monotonic()
    worker.send_signal(signal.SIGINT)
    house.until(lambda: house.events("Warm shutdown") == 1, 5)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(10) == 0
    assert time.monotonic() - told < 10
    assert not any(psutil.pid_exists(child) for child in children)
    assert (Job.objects.get().status, Job.objects.get().crashes) == (Status.QUEUED, 0)


@on_redis
def test_a_child_that_leaks_is_replaced_after_its_job(house: House) -> None:
    house.ready_worker("-c", "1", "--max-memory", "150")
    submit(house, "jobs.leak.submit_many([{'number': n} for n in range(4)])")
    house.until(lambda: done("health.leak") == 4, 30)
    ran = [line.split() for line in traces(house)]
    assert sorted(number for number, _ in ran) == [str(number) for number in range(4)]
    assert len({pid for _, pid in ran}) >= 3
    assert {line["limit_mb"] for line in house.lines("child_replaced")} == {150}
    assert all("timestamp" in line for line in house.lines(""))  # in our format, what the pool says too
    assert set(Job.objects.values_list("crashes", "failures")) == {(0, 0)}


@on_redis
def test_a_threaded_worker_that_leaks_begins_anew_in_its_own_process_when_its_jobs_have_ended(
    house: House,
) -> None:
    options = ("-c", "2", "--pool", "threads", "--max-memory", "150", "--grace", "0.1")
    worker = house.ready_worker(*options, STUCK_AFTER="60")
    submit(house, "[jobs.leak.submit(number=n, seconds=3 * (n == 0)) for n in range(5)]")
    house.until(lambda: done("health.leak") == 5 and house.events("worker_restarted"), 30)
    assert sorted(traces(house)) == [f"{number} {worker.pid}" for number in range(5)]
    assert set(Job.objects.values_list("attempt", "crashes")) == {(1, 0)}
    assert house.events("jobs_cut_off") == 0
    assert worker.poll() is None
    assert house.lines("memory_limit_reached")[0]["limit_mb"] == 150
    house.until(lambda: house.events("ready.") >= 2, 20)
    worker.terminate()
    assert worker.wait(15) == 0


@on_redis
def test_a_worker_that_breaks_down_ends_as_failed_also_when_its_jobs_are_cut_off(house: House) -> None:
    worker = house.ready_worker(
        "--pool", "threads", "--grace", "0.1", LONGWAVE_MODULES=f"{JOBS},tests.health.breaking"
    )
    submit(house, "jobs.stubborn.submit(seconds=60)")
    assert worker.wait(20) == 1
    assert house.events("jobs_cut_off") == 1
    assert traces(house) == ["begun-at-0 attempt-1"]
    assert (Job.objects.get().status, Job.objects.get().crashes) == (Status.QUEUED, 0)


@pytest.mark.parametrize("house", ["postgresql+rabbitmq"], indirect=True)
def test_a_worker_that_has_stopped_consuming_notices_and_begins_anew(house: House) -> None:
    worker = house.ready_worker("--name", "w", LONGWAVE_MODULES=f"{JOBS},tests.health.deaf", STUCK_AFTER="2")
    submit(house, "jobs.short.submit_many([{'number': n} for n in range(10)])")
    house.until(lambda: done("health.short") == 10, 40)
    assert Counter(traces(house)) == {str(number): 1 for number in range(10)}
    (stuck,) = house.lines("consumer_stuck")
    assert (stuck["queue"], stuck["running"], stuck["level"]) == ("default", 0, "warning")
    assert [line["why"] for line in house.lines("worker_restarted")] == ["consumer_stuck"]
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(15) == 0


@on_redis
def test_sighup_begins_anew_and_idle_workers_are_left_alone(house: House) -> None:
    worker = house.ready_worker("-c", "1", STUCK_AFTER="2")
    pass_time(time.time() + 4)  # twice as long as it takes to call a consumer stuck
    assert house.events("consumer_stuck") == 0
    worker.send_signal(signal.SIGHUP)
    house.until(lambda: house.events("ready.") == 2, 30)
    submit(house, "jobs.short.submit(number=1)")
    house.until(lambda: done("health.short") == 1, 20)
    assert [line["why"] for line in house.lines("worker_restarted")] == ["asked_to"]
    assert house.events("consumer_stuck") == 0


@pytest.mark.parametrize("children", ["1", "2"])
def test_what_a_killed_child_ran_runs_again_long_before_its_lease_runs_out(
    house: House, children: str
) -> None:
    """No beat runs, which would give it back then: the child's own worker does."""
    worker = house.ready_worker("-c", children)
    submit(house, "jobs.killed.submit()")
    house.until(lambda: done("health.killed") == 1, 20)
    assert traces(house) == ["attempt-1 crashes-0", "attempt-2 crashes-1"]
    job = Job.objects.get()
    assert (job.attempt, job.crashes, job.failures, job.seq) == (2, 1, 0, 2)
    assert worker.poll() is None


@on_redis
def test_a_child_whose_death_is_heard_of_before_it_is_dead_is_replaced_within_a_moment(
    house: House,
) -> None:
    """The system closes a dying process' files first. Celery, which looks then, looks again every five seconds."""
    house.ready_worker("-c", "1")
    submit(house, "jobs.fading.submit()")
    house.until(lambda: done("health.fading") == 1, 20)
    assert Job.objects.get().crashes == 6


@on_redis
def test_a_job_that_aborts_its_process_is_given_up_after_the_third_time(house: House) -> None:
    house.ready_worker("-c", "1")
    submit(house, "jobs.abort.submit(); jobs.short.submit(number=1)")
    house.until(lambda: Job.objects.filter(status=Status.FAILURE).exists(), 20)
    job = Job.objects.get(name="health.abort")
    assert (job.crashes, job.error) == (3, "Its worker died 3 times in a row while running it.")
    assert traces(house).count("abort") == 3
    house.until(lambda: done("health.short") == 1, 20)


@on_redis
def test_a_child_that_is_killed_in_the_grace_of_its_worker_has_crashed_all_the_same(
    house: House,
) -> None:
    worker = house.ready_worker("-c", "1", "--grace", "60")
    submit(house, "jobs.stubborn.submit(seconds=60)")
    house.until(lambda: len(traces(house)) == 1, 20)
    (child,) = children_of(worker)
    worker.terminate()
    house.until(lambda: house.events("Warm shutdown") == 1, 10)
    os.kill(child, signal.SIGKILL)
    assert worker.wait(20) == 0
    assert (Job.objects.get().status, Job.objects.get().crashes) == (Status.QUEUED, 1)
    assert house.events("jobs_cut_off") == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_is_leaving_answers_until_its_last_job_has_ended(house: House, pool: str) -> None:
    options = ("--pool", pool, "-c", "2", "--grace", "60", "--name", "w@here")
    worker = house.ready_worker(*options)
    submit(house, "jobs.stubborn.submit(seconds=60)")
    house.until(lambda: len(traces(house)) == 1, 20)
    (staying,) = house.evaluate("presence.workers()").values()
    assert (staying["queues"] != [], staying["is_leaving"]) == (True, False)
    worker.terminate()
    house.until(lambda: house.events("Warm shutdown") == 1, 10)
    house.until(lambda: not listens(house), 10)
    for _ in range(2):
        (leaving,) = house.evaluate("presence.workers()").values()
        same = {"name", "host", "pid", "concurrency", "declares"}
        assert {key: leaving[key] for key in same} == {key: staying[key] for key in same}
        assert (leaving["queues"], leaving["is_leaving"]) == ([], True)
    assert Job.objects.get().status == Status.RUNNING
    worker.terminate()
    assert worker.wait(15) == 0
    assert house.evaluate("presence.workers()") == {}
    assert not [line for line in house.lines("") if line["level"] in ("error", "critical")]


@on_redis
def test_a_worker_that_is_leaving_answers_again_when_its_broker_is_back(house: House) -> None:
    worker = house.ready_worker("-c", "1", "--grace", "60")
    submit(house, "jobs.stubborn.submit(seconds=60)")
    house.until(lambda: len(traces(house)) == 1, 20)
    worker.terminate()
    house.until(lambda: house.evaluate("presence.workers()") and not listens(house), 10)
    house.broker.stop()
    assert house.evaluate("presence.workers()") is None
    house.broker.start()
    house.until(lambda: house.evaluate("presence.workers()"), 10)


@on_redis
@pytest.mark.parametrize("children", ["1", "2"])
def test_a_child_that_is_killed_as_its_worker_starts_is_replaced(house: House, children: str) -> None:
    worker = house.ready_worker("-c", children, LONGWAVE_MODULES=f"{JOBS},tests.health.dying")
    submit(house, "jobs.short.submit(number=1)")
    house.until(lambda: done("health.short") == 1, 20)
    house.until(lambda: len(children_of(worker)) == int(children), 10)
    killed = int((house.home / "first").readlink().name)
    assert killed not in children_of(worker)


SUBMITTER = """
import os, sys, time
import longwave
from longwave import logs
logs.configure("INFO", "json")
longwave.setup()
from pathlib import Path
from tests.health import jobs
waits, number = [], 0
while not Path(os.environ["LONGWAVE_HOME"], "enough").exists():
    began = time.monotonic()
    jobs.short.submit(number=number)
    waits.append(time.monotonic() - began)
    number += 1
    time.sleep(0.05)
from longwave.jobs import ringer
ringer.flush()
print(f"SUBMITTED {number} SLOWEST {max(waits):.3f}")
"""


def test_an_outage_of_the_broker_costs_no_submit_and_a_line_or_two_in_each_log(house: House) -> None:
    beat, worker = house.beat(), house.ready_worker("--pool", "threads", "--name", "w")
    log = house.home / "bot.log"
    with log.open("wb") as file:
        bot = subprocess.Popen(
            [sys.executable, "-c", SUBMITTER], env=house.environment, stdout=file, stderr=file
        )
    house.others.append(bot)
    house.until(lambda: done("health.short") >= 20, 20)
    house.broker.stop()
    before = Job.objects.count()
    pass_time(time.time() + 10)
    house.broker.start()
    during = Job.objects.count()
    assert during - before > 50
    house.until(lambda: done("health.short") > during, 30)
    (house.home / "enough").touch()
    assert bot.wait(15) == 0
    submitted, slowest = (
        int(log.read_text().split("SUBMITTED ")[1].split()[0]),
        float(log.read_text().split()[-1]),
    )
    assert slowest < 2
    house.until(lambda: done("health.short") == submitted, 30)
    assert Counter(traces(house)) == {str(number): 1 for number in range(submitted)}
    said = {
        path.name.split("-")[0]: Counter(
            str(json.loads(line)["event"]) for line in path.read_text().splitlines()
        )
        for path in house.home.glob("*-*.log")
    }
    assert said["beat"] == {"beat_leads": 1, "broker_away": 1, "broker_back": 1, "broker_was_emptied": 1}
    told = Counter(json.loads(line)["event"] for line in log.read_text().splitlines() if line.startswith("{"))
    assert told == {"broker_away": 1, "broker_back": 1}
    about = {event: count for event, count in said["worker"].items() if "onnected to" not in event}
    assert about.pop(f"w@{socket.gethostname()} ready.") == 1
    assert about.keys() - {"broker_away", "broker_back"} == {"consumer_disconnected", "consumer_connected"}
    assert set(about.values()) == {1}
    for process in (worker, beat):
        process.terminate()
    assert worker.wait(10) == 0
    assert beat.wait(10) == 0
