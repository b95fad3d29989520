"""Real workers and a real beat, killed at random: every job ends exactly once in the ledger."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from longwave import celery, config
from longwave.jobs.models import Job, Status
from tests import databases
from tests.contract import test_brokers as brokers

pytestmark = pytest.mark.chaos

TASKS = """
import asyncio, os, time
from longwave.jobs import Again, job, job_context

def leave_a_trace(word):
    descriptor = os.open(os.environ["TRACES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{word}\\n".encode())
    os.close(descriptor)

@job("room.work", lease=1.0, max_crashes=None)
def work(number):
    time.sleep(0.02)
    leave_a_trace(number)
    return number

@job("room.awaited", lease=1.0, max_crashes=None)
async def awaited(number):
    await asyncio.sleep(0.02)
    leave_a_trace(number)
    return number

@job("room.lane", queue="broadcast", lease=1.0, max_crashes=None)
def lane():
    context = job_context.current()
    while not context.stopping():
        time.sleep(0.02)
    return Again(why="stopping")

@job("room.deadly", lease=0.5, max_crashes=2)
def deadly():
    os.kill(os.getpid(), 9)
"""
START = "import longwave; longwave.setup(); from longwave.cli import worker; worker."


class House:
    """A worker and a beat with jobs of the test's own, on one database and one broker."""

    def __init__(self, folder: Path, database_url: str, broker_url: str) -> None:
        room = folder / "room"
        room.mkdir()
        (room / "__init__.py").touch()
        (room / "tasks.py").write_text(TASKS)
        (folder / "room_settings.py").write_text(
            "from longwave.settings import *\nINSTALLED_APPS = ['longwave.jobs', 'room']\n"
        )
        self.traces = folder / "traces"
        self.traces.touch()
        self.log = (folder / "log").open("wb")
        self.environ = os.environ | {
            "LONGWAVE_HOME": str(config.current().home),
            "LONGWAVE_DATABASE_URL": database_url,
            "LONGWAVE_BROKER_URL": broker_url,
            "DJANGO_SETTINGS_MODULE": "room_settings",
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
            "TRACES": str(self.traces),
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, what: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{START}{what}"],
            env=self.environ,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def submit(self, code: str) -> None:
        """Run `code`, which submits jobs, in a process of the house."""
        head = "import longwave; longwave.setup(); from room import tasks;"
        subprocess.run([sys.executable, "-c", head + code], env=self.environ, check=True, timeout=60)

    def ask(self, what: str) -> Any:
        """What an expression of the package's own says in a process of the house."""
        head = "import json, longwave; longwave.setup(); from dataclasses import asdict;"
        code = f"{head} from longwave.jobs import presence; print(json.dumps({what}, default=asdict))"
        asked = [sys.executable, "-c", code]
        return json.loads(subprocess.run(asked, env=self.environ, check=True, capture_output=True).stdout)

    def end(self) -> None:
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.log.close()

    def story(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text(errors="replace")[-4000:]


@pytest.fixture(params=["sqlite-redis", "postgresql-rabbitmq", "mariadb-redis"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    database, broker = request.param.split("-")
    service = {"redis": brokers._redis, "rabbitmq": brokers._rabbitmq}[broker]
    with databases.empty(database) as url, service() as found, brokers._used(found.url):
        home = House(tmp_path, url, found.url)
        try:
            yield home
        finally:
            home.end()


def until(what: Callable[[], bool], house: House, *, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            pytest.fail(
                f"waited in vain\n{Counter(Job.objects.values_list('status', flat=True))}\n{house.story()}"
            )
        time.sleep(0.05)


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def count(status: Status) -> int:
    return Job.objects.filter(status=status).count()


def test_every_job_ends_exactly_once_although_children_and_workers_are_killed(house: House) -> None:
    house.submit(
        "tasks.work.submit_many([{'number': n} for n in range(100)]);"
        "tasks.awaited.submit_many([{'number': n} for n in range(100, 200)])"
    )
    house.start("beat()")
    worker = house.start("worker(concurrency=3)")
    for done in (20, 50, 80):
        until(lambda done=done: count(Status.SUCCESS) >= done, house)
        children_of(worker)[0].kill()
    for done in (110, 150):
        until(lambda done=done: count(Status.SUCCESS) >= done, house)
        orphans = children_of(worker)
        worker.kill()
        worker.wait()
        until(lambda orphans=orphans: not any(_lives(orphan) for orphan in orphans), house, seconds=3)
        worker = house.start("worker(concurrency=3)")
    until(lambda: count(Status.SUCCESS) == 200, house)
    traces = Counter(int(line) for line in house.traces.read_text().split())
    for job in Job.objects.all():
        assert job.result == job.args["number"]
        assert 1 <= traces[job.result] <= 1 + job.crashes
    assert len(traces) == 200


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("house", ["sqlite-redis"], indirect=True)
def test_a_stopping_worker_hands_its_jobs_over_within_two_seconds(house: House) -> None:
    house.submit("tasks.lane.submit()")
    worker = house.start("worker()")
    until(lambda: count(Status.RUNNING) == 1, house)
    children = children_of(worker)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    until(lambda: count(Status.QUEUED) == 1, house, seconds=2)
    assert worker.wait(8) == 0
    assert time.monotonic() - began < 8
    assert not any(_lives(child) for child in children)
    job = Job.objects.get()
    assert (job.attempt, job.failures, job.crashes, job.seq) == (0, 0, 0, 2)


@pytest.mark.parametrize("house", ["sqlite-redis"], indirect=True)
def test_a_job_that_kills_its_worker_is_failed_as_poison_and_the_rest_goes_on(house: House) -> None:
    house.submit("tasks.deadly.submit(); tasks.work.submit_many([{'number': n} for n in range(10)])")
    beat = house.start("beat()")
    house.start("worker(concurrency=1)")
    until(lambda: count(Status.FAILURE) == 1 and count(Status.SUCCESS) == 10, house)
    assert "died 2 times" in Job.objects.get(status=Status.FAILURE).error
    beat.send_signal(signal.SIGTERM)
    assert beat.wait(5) == 0


@pytest.mark.parametrize("house", ["sqlite-redis"], indirect=True)
def test_a_flushed_broker_loses_no_job(house: House) -> None:
    house.start("beat()")
    worker = house.start("worker(concurrency=2)")
    house.submit("tasks.work.submit_many([{'number': n} for n in range(150)])")
    until(lambda: count(Status.SUCCESS) >= 10, house)
    path = Path(celery.app.conf.broker_url.removeprefix("redis+socket://"))
    brokers._ask(path, "FLUSHALL")
    until(lambda: count(Status.SUCCESS) == 150, house)
    assert Counter(house.traces.read_text().split()).most_common(1)[0][1] == 1
    assert worker.poll() is None


def test_a_worker_says_who_it_is(house: House) -> None:
    worker = house.start("worker(queues='default,email', concurrency=2)")
    until(lambda: bool(house.ask("presence.workers()")), house)
    ((name, answer),) = house.ask("presence.workers()").items()
    assert (answer["name"], answer["pid"], answer["queues"]) == (name, worker.pid, ["default", "email"])
    assert answer["concurrency"] == 2
    assert answer["memory_mb"] > 10
    assert house.ask("presence.listeners()") == {"default": [name], "email": [name]}
