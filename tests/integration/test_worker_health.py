"""Real workers that are stopped, replaced, grow too large or go deaf: every job runs once, and nothing is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from longwave.jobs.models import Job, Status
from tests import databases
from tests.brokers import Broker, RabbitVhost, RedisServer
from tests.waiting import pass_time, until

pytestmark = pytest.mark.chaos

JOBS = """
import os, signal, subprocess, sys, time
from longwave.jobs import Again, job, job_context, memory, watchdog

memory.EARLIEST = 0.0
if "STUCK_AFTER" in os.environ:
    watchdog.STUCK_AFTER, watchdog.LOOK_EVERY = float(os.environ["STUCK_AFTER"]), 0.5

def leave_a_trace(word):
    descriptor = os.open(os.environ["TRACES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{word}\\n".encode())
    os.close(descriptor)

@job("health.short")
def short(number):
    time.sleep(0.02)
    leave_a_trace(number)

@job("health.stubborn", queue="import")
def stubborn(seconds):
    context = job_context.current()
    start = context.saved or 0
    leave_a_trace(f"begun-at-{start} attempt-{context.attempt}")
    if not start:
        context.checkpoint(5)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    leave_a_trace("ended")

hoard = []

@job("health.leak", queue="email")
def leak(number, seconds=0):
    hoard.append(bytearray(os.urandom(1024) * 1024 * 40))
    time.sleep(seconds)
    leave_a_trace(f"{number} {os.getpid()}")

@job("health.abort")
def abort():
    leave_a_trace("abort")
    os.abort()

@job("health.killed")
def killed():
    context = job_context.current()
    leave_a_trace(f"attempt-{context.attempt} crashes-{context.crashes}")
    if not context.crashes:
        os.kill(os.getpid(), signal.SIGKILL)

@job("health.fading", max_crashes=None)
def fading():
    if job_context.current().crashes < 6:
        os.closerange(3, 1024)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
"""

DEAF = """
from celery import signals

@signals.worker_ready.connect(weak=False)
def go_deaf(sender, **_):
    import os
    from pathlib import Path
    once = Path(os.environ["TRACES"] + ".deaf")
    if not once.exists():
        once.touch()
        sender.task_consumer.cancel()
"""

BREAKING = """
from celery import signals

@signals.task_received.connect(weak=False)
def break_down(sender, **_):
    def fail():
        raise MemoryError("the consumer is broken")
    sender.timer.call_after(1, fail)
"""

DYING = """
import os, signal, time
from celery import signals
from pathlib import Path
import psutil

FIRST = Path(os.environ["TRACES"] + ".first")

@signals.worker_process_init.connect(weak=False)
def die_first(**_):
    try:
        FIRST.symlink_to(str(os.getpid()))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

@signals.worker_ready.connect(weak=False)
def see_it_dead(**_):
    while not FIRST.is_symlink() or lives(int(FIRST.readlink().name)):
        time.sleep(0.01)

def lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
"""


class Installation:
    """A database, a broker, and workers with jobs of the test's own."""

    def __init__(self, folder: Path, database_url: str, broker: Broker) -> None:
        (folder / "health_jobs.py").write_text(JOBS)
        (folder / "deaf.py").write_text(DEAF)
        (folder / "breaking.py").write_text(BREAKING)
        (folder / "dying.py").write_text(DYING)
        self.folder = folder
        self.broker = broker
        self.name = f"w@{socket.gethostname()}"
        self.traces_file = folder / "traces"
        self.traces_file.touch()
        plain = {name: value for name, value in os.environ.items() if not name.startswith("LONGWAVE_")}
        self.environ = plain | {
            "LONGWAVE_HOME": str(folder / "home"),
            "LONGWAVE_DATABASE_URL": database_url,
            **({"LONGWAVE_BROKER_URL": broker.url} if broker.url else {}),
            "LONGWAVE_MODULES": "health_jobs",
            "LONGWAVE_LOG_FORMAT": "json",
            "PYTHONPATH": os.pathsep.join([str(folder), *(path for path in sys.path if path)]),
            "TRACES": str(self.traces_file),
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **environ: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{words[0]}-{uuid.uuid4().hex[:6]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "longwave", "--parent", str(os.getpid()), *words],
                env=self.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def worker(self, *words: str, **environ: str) -> "subprocess.Popen[bytes]":
        """A worker that is ready."""
        ready = self.events("ready.")
        process = self.start("worker", *words, **environ)
        until(lambda: self.events("ready.") > ready, 30, self.story)
        return process

    def submit(self, code: str) -> None:
        """Run `code`, which submits jobs, in a process of the installation."""
        head = "import longwave; longwave.setup(); import health_jobs as jobs;"
        subprocess.run([sys.executable, "-c", head + code], env=self.environ, check=True, timeout=60)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of all processes whose event is, or contains, these words."""
        found = []
        for path in sorted(self.folder.glob("*.log")):
            for line in path.read_text(errors="replace").splitlines():
                values = json.loads(line) if line.startswith("{") else {"event": line}
                if event in str(values["event"]):
                    found.append(values)
        return found

    def events(self, event: str) -> int:
        return len(self.lines(event))

    def traces(self) -> list[str]:
        return self.traces_file.read_text().splitlines()

    def story(self) -> str:
        logs = "".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log"))
        return f"{Counter(Job.objects.values_list('name', 'status'))}\n{logs}"

    def end(self) -> None:
        for process in self.processes:
            for living in [process.pid] if process.poll() is None else []:
                os.killpg(living, signal.SIGKILL)
            process.wait()


@pytest.fixture(params=["sqlite-redis", "postgresql-rabbitmq"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    database, kind = request.param.split("-")
    with databases.empty(database) as url:
        broker: Broker = RedisServer(tmp_path) if kind == "redis" else RabbitVhost()
        installation = Installation(tmp_path, url, broker)
        try:
            yield installation
        finally:
            installation.end()
            broker.stop()


on_two_of_four = pytest.mark.parametrize(
    ("place", "pool"), [("sqlite-redis", "prefork"), ("postgresql-rabbitmq", "threads")], indirect=["place"]
)
on_redis = pytest.mark.parametrize("place", ["sqlite-redis"], indirect=True)


def done(name: str) -> int:
    return Job.objects.filter(name=name, status=Status.SUCCESS).count()


def children_of(process: "subprocess.Popen[bytes]") -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children()]


def test_a_rolling_restart_loses_and_repeats_nothing(place: Installation) -> None:
    place.start("beat")
    first, second = place.worker("-c", "2"), place.worker("--pool", "threads", "-c", "2")
    for number, (old, options) in enumerate(((first, ()), (second, ("--pool", "threads")))):
        start = number * 500
        place.submit(f"jobs.short.submit_many([{{'number': {start} + n}} for n in range(500)])")
        until(lambda start=start: done("health.short") > start + 50, 30, place.story)
        place.start("worker", "-c", "2", *options)
        # As systemd does it: to all of its processes.
        os.killpg(old.pid, signal.SIGTERM)
        assert old.wait(20) == 0
    until(lambda: done("health.short") == 1000, 60, place.story)
    assert Counter(place.traces()) == {str(number): 1 for number in range(1000)}
    assert set(Job.objects.values_list("crashes", "failures", "attempt")) == {(0, 0, 1)}
    assert place.events("jobs_cut_off") == 0


@on_two_of_four
def test_a_job_that_does_not_end_is_given_back_and_runs_elsewhere_from_its_checkpoint(
    place: Installation, pool: str
) -> None:
    worker = place.worker("--pool", pool, "--grace", "1")
    place.submit("jobs.stubborn.submit(seconds=4)")
    until(lambda: len(place.traces()) == 1, 20, place.story)
    worker.terminate()
    assert worker.wait(15) == 0
    assert place.events("jobs_cut_off") == 1
    job = Job.objects.get()
    assert (job.status, job.crashes, job.failures, job.seq) == (Status.QUEUED, 0, 0, 2)
    place.worker("--pool", pool)
    until(lambda: done("health.stubborn") == 1, 20, place.story)
    assert place.traces() == ["begun-at-0 attempt-1", "begun-at-5 attempt-2", "ended"]


@on_redis
def test_told_twice_a_worker_ends_at_once_and_still_gives_back(place: Installation) -> None:
    worker = place.worker()
    place.submit("jobs.stubborn.submit(seconds=60)")
    until(lambda: len(place.traces()) == 1, 20, place.story)
    children, told = children_of(worker), time.monotonic()
    worker.send_signal(signal.SIGINT)
    until(lambda: place.events("Warm shutdown") == 1, 5, place.story)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(10) == 0
    assert time.monotonic() - told < 10
    assert not any(psutil.pid_exists(child) for child in children)
    assert (Job.objects.get().status, Job.objects.get().crashes) == (Status.QUEUED, 0)


@on_redis
def test_a_child_that_leaks_is_replaced_after_its_job(place: Installation) -> None:
    place.worker("-c", "1", "--max-memory", "150")
    place.submit("jobs.leak.submit_many([{'number': n} for n in range(4)])")
    until(lambda: done("health.leak") == 4, 30, place.story)
    ran = [line.split() for line in place.traces()]
    assert sorted(number for number, _ in ran) == [str(number) for number in range(4)]
    assert len({pid for _, pid in ran}) >= 3
    assert {line["limit_mb"] for line in place.lines("child_replaced")} == {150}
    assert all("timestamp" in line for line in place.lines(""))  # in our format, what the pool says too
    assert set(Job.objects.values_list("crashes", "failures")) == {(0, 0)}


@on_redis
def test_a_threaded_worker_that_leaks_begins_anew_in_its_own_process_when_its_jobs_have_ended(
    place: Installation,
) -> None:
    options = ("-c", "2", "--pool", "threads", "--max-memory", "150", "--grace", "0.1")
    worker = place.worker(*options, STUCK_AFTER="60")
    place.submit("[jobs.leak.submit(number=n, seconds=3 * (n == 0)) for n in range(5)]")
    until(lambda: done("health.leak") == 5 and place.events("worker_restarted"), 30, place.story)
    assert sorted(place.traces()) == [f"{number} {worker.pid}" for number in range(5)]
    assert set(Job.objects.values_list("attempt", "crashes")) == {(1, 0)}
    assert place.events("jobs_cut_off") == 0
    assert worker.poll() is None
    assert place.lines("memory_limit_reached")[0]["limit_mb"] == 150
    until(lambda: place.events("ready.") >= 2, 20, place.story)
    worker.terminate()
    assert worker.wait(15) == 0


@on_redis
def test_a_worker_that_breaks_down_ends_as_failed_also_when_its_jobs_are_cut_off(place: Installation) -> None:
    worker = place.worker("--pool", "threads", "--grace", "0.1", LONGWAVE_MODULES="health_jobs,breaking")
    place.submit("jobs.stubborn.submit(seconds=60)")
    assert worker.wait(20) == 1
    assert place.events("jobs_cut_off") == 1
    assert place.traces() == ["begun-at-0 attempt-1"]
    assert (Job.objects.get().status, Job.objects.get().crashes) == (Status.QUEUED, 0)


@pytest.mark.parametrize("place", ["postgresql-rabbitmq"], indirect=True)
def test_a_worker_that_has_stopped_consuming_notices_and_begins_anew(place: Installation) -> None:
    worker = place.worker("--name", "w", LONGWAVE_MODULES="health_jobs,deaf", STUCK_AFTER="2")
    place.submit("jobs.short.submit_many([{'number': n} for n in range(10)])")
    until(lambda: done("health.short") == 10, 40, place.story)
    assert Counter(place.traces()) == {str(number): 1 for number in range(10)}
    (stuck,) = place.lines("consumer_stuck")
    assert (stuck["queue"], stuck["running"], stuck["level"]) == ("default", 0, "warning")
    assert [line["why"] for line in place.lines("worker_restarted")] == ["consumer_stuck"]
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(15) == 0


@on_redis
def test_sighup_begins_anew_and_idle_workers_are_left_alone(place: Installation) -> None:
    worker = place.worker("-c", "1", STUCK_AFTER="2")
    pass_time(time.time() + 4)  # twice as long as it takes to call a consumer stuck
    assert place.events("consumer_stuck") == 0
    worker.send_signal(signal.SIGHUP)
    until(lambda: place.events("ready.") == 2, 30, place.story)
    place.submit("jobs.short.submit(number=1)")
    until(lambda: done("health.short") == 1, 20, place.story)
    assert [line["why"] for line in place.lines("worker_restarted")] == ["asked_to"]
    assert place.events("consumer_stuck") == 0


@pytest.mark.parametrize("children", ["1", "2"])
def test_what_a_killed_child_ran_runs_again_long_before_its_lease_runs_out(
    place: Installation, children: str
) -> None:
    """No beat runs, which would give it back then: the child's own worker does."""
    worker = place.worker("-c", children)
    place.submit("jobs.killed.submit()")
    until(lambda: done("health.killed") == 1, 20, place.story)
    assert place.traces() == ["attempt-1 crashes-0", "attempt-2 crashes-1"]
    job = Job.objects.get()
    assert (job.attempt, job.crashes, job.failures, job.seq) == (2, 1, 0, 2)
    assert worker.poll() is None


@on_redis
def test_a_child_whose_death_is_heard_of_before_it_is_dead_is_replaced_within_a_moment(
    place: Installation,
) -> None:
    """The system closes a dying process' files first. Celery, which looks then, looks again every five seconds."""
    place.worker("-c", "1")
    place.submit("jobs.fading.submit()")
    until(lambda: done("health.fading") == 1, 20, place.story)
    assert Job.objects.get().crashes == 6


@on_redis
def test_a_job_that_aborts_its_process_is_given_up_after_the_third_time(place: Installation) -> None:
    place.worker("-c", "1")
    place.submit("jobs.abort.submit(); jobs.short.submit(number=1)")
    until(lambda: Job.objects.filter(status=Status.FAILURE).exists(), 20, place.story)
    job = Job.objects.get(name="health.abort")
    assert (job.crashes, job.error) == (3, "Its worker died 3 times in a row while running it.")
    assert place.traces().count("abort") == 3
    until(lambda: done("health.short") == 1, 20, place.story)


@on_redis
def test_a_child_that_is_killed_in_the_grace_of_its_worker_has_crashed_all_the_same(
    place: Installation,
) -> None:
    worker = place.worker("-c", "1", "--grace", "60")
    place.submit("jobs.stubborn.submit(seconds=60)")
    until(lambda: len(place.traces()) == 1, 20, place.story)
    (child,) = children_of(worker)
    worker.terminate()
    until(lambda: place.events("Warm shutdown") == 1, 10, place.story)
    os.kill(child, signal.SIGKILL)
    assert worker.wait(20) == 0
    assert (Job.objects.get().status, Job.objects.get().crashes) == (Status.QUEUED, 1)
    assert place.events("jobs_cut_off") == 0


@on_redis
@pytest.mark.parametrize("children", ["1", "2"])
def test_a_child_that_is_killed_as_its_worker_starts_is_replaced(place: Installation, children: str) -> None:
    worker = place.worker("-c", children, LONGWAVE_MODULES="health_jobs,dying")
    place.submit("jobs.short.submit(number=1)")
    until(lambda: done("health.short") == 1, 20, place.story)
    until(lambda: len(children_of(worker)) == int(children), 10, place.story)
    killed = int(place.traces_file.with_name("traces.first").readlink().name)
    assert killed not in children_of(worker)


SUBMITTER = """
import os, sys, time
import longwave
from longwave import logs
logs.configure("INFO", "json")
longwave.setup()
import health_jobs as jobs
from pathlib import Path
waits, number = [], 0
while not Path(os.environ["TRACES"] + ".enough").exists():
    began = time.monotonic()
    jobs.short.submit(number=number)
    waits.append(time.monotonic() - began)
    number += 1
    time.sleep(0.05)
from longwave.jobs import ringer
ringer.flush()
print(f"SUBMITTED {number} SLOWEST {max(waits):.3f}")
"""


def test_an_outage_of_the_broker_costs_no_submit_and_a_line_or_two_in_each_log(place: Installation) -> None:
    beat, worker = place.start("beat"), place.worker("--pool", "threads", "--name", "w")
    log = place.folder / "bot.log"
    with log.open("wb") as file:
        bot = subprocess.Popen([sys.executable, "-c", SUBMITTER], env=place.environ, stdout=file, stderr=file)
    place.processes.append(bot)
    until(lambda: done("health.short") >= 20, 20, place.story)
    place.broker.stop()
    before = Job.objects.count()
    pass_time(time.time() + 10)
    place.broker.start()
    during = Job.objects.count()
    assert during - before > 50
    until(lambda: done("health.short") > during, 30, place.story)
    (place.folder / "traces.enough").touch()
    assert bot.wait(15) == 0
    submitted, slowest = (
        int(log.read_text().split("SUBMITTED ")[1].split()[0]),
        float(log.read_text().split()[-1]),
    )
    assert slowest < 2
    until(lambda: done("health.short") == submitted, 30, place.story)
    assert Counter(place.traces()) == {str(number): 1 for number in range(submitted)}
    said = {
        path.name.split("-")[0]: Counter(
            str(json.loads(line)["event"]) for line in path.read_text().splitlines()
        )
        for path in place.folder.glob("*-*.log")
    }
    assert said["beat"] == {"beat_leads": 1, "broker_away": 1, "broker_back": 1, "broker_was_emptied": 1}
    told = Counter(json.loads(line)["event"] for line in log.read_text().splitlines() if line.startswith("{"))
    assert told == {"broker_away": 1, "broker_back": 1}
    about = {event: count for event, count in said["worker"].items() if "onnected to" not in event}
    assert about.pop(f"{place.name} ready.") == 1
    assert about.keys() - {"broker_away", "broker_back"} == {"consumer_disconnected", "consumer_connected"}
    assert set(about.values()) == {1}
    for process in (worker, beat):
        process.terminate()
    assert worker.wait(10) == 0
    assert beat.wait(10) == 0
