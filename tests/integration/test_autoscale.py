"""Real workers that come and go: a spike, a kill -9 of whoever decides, and the calm after it."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest
from django.db.models import Max

from longwave.jobs.models import Job, Status
from longwave.ops.models import Scaling, ScalingDecision
from tests import databases
from tests.stacks import Stack, stack, until

pytestmark = pytest.mark.chaos

JOBS = 100
TASKS = """
import os, time
from longwave.jobs import job

@job("spike.work", lease=3.0, max_crashes=None)
def work(number):
    time.sleep(0.5)
    descriptor = os.open(os.environ["TRACES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{number}\\n".encode())
    os.close(descriptor)

@job("spike.long")
def long():
    time.sleep(60)
"""
OPTIONS = (
    "--group",
    "files",
    "--max",
    "4",
    "-c",
    "2",
    "--target-wait",
    "2",
    "--cool-down",
    "3",
    "--every",
    "0.5",
)


def workers(running: Stack) -> list[psutil.Process]:
    """The main processes of the workers that were started by whoever decides."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "ppid", "status"]):
        words, environ = process.info["cmdline"] or [], process.info["environ"] or {}
        is_here = environ.get("LONGWAVE_HOME") == str(running.home)
        is_worker = "worker" in words and any(word.startswith("auto-files-") for word in words)
        if is_here and is_worker and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    mains = {process.pid for process in found}
    return [process for process in found if process.info["ppid"] not in mains]


def desired(running: Stack) -> int:
    with databases.pointed_at(running.url):
        return Scaling.objects.values_list("desired", flat=True).filter(group="files").first() or 0


def owners(running: Stack) -> dict[str, str]:
    with databases.pointed_at(running.url):
        return dict(Scaling.objects.values_list("group", "owner"))


def done(running: Stack) -> int:
    with databases.pointed_at(running.url):
        return Job.objects.filter(status=Status.SUCCESS).count()


def long_one(running: Stack) -> Job:
    with databases.pointed_at(running.url):
        return Job.objects.get(name="spike.long")


def submit(running: Stack, what: str) -> None:
    code = f"import longwave; longwave.setup(); import spike_tasks; spike_tasks.{what}"
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=running.environment, check=True, timeout=60)


def test_workers_come_with_a_spike_outlive_a_kill_and_go_when_it_is_calm(home: Path) -> None:
    (home / "spike_tasks.py").write_text(TASKS)
    traces = home / "traces"
    with stack("postgresql+redis", home, workers=0) as running:
        running.environment |= {
            "LONGWAVE_MODULES": "spike_tasks",
            "PYTHONPATH": os.pathsep.join([str(home), os.environ.get("PYTHONPATH", "")]),
            "TRACES": str(traces),
        }
        first = running.start("autoscale", *OPTIONS)
        running.others.append(first)
        until(lambda: len(workers(running)) == 1, 30, running.logs)
        # Whoever only publishes decides for what nobody decides for, and waits where somebody does.
        publisher = running.start("autoscale", "--group", "files", "--group", "bots", "--publish-only")
        running.others.append(publisher)
        until(lambda: owners(running).get("bots"), 30, running.logs)
        assert "autoscaler_waits" in running.logs()
        assert owners(running)["bots"] != owners(running)["files"]
        publisher.send_signal(signal.SIGTERM)
        assert publisher.wait(10) == 0
        assert owners(running)["bots"] == ""

        submit(running, f"work.submit_many([{{'number': n}} for n in range({JOBS})])")
        until(lambda: desired(running) == 4 and len(workers(running)) == 4, 30, running.logs)
        until(lambda: done(running) >= 10, 30, running.logs)

        first.kill()
        first.wait()
        second = running.start("autoscale", *OPTIONS)
        running.others.append(second)
        until(lambda: done(running) == JOBS, 60, running.logs)
        until(lambda: desired(running) == 1 and len(workers(running)) == 1, 60, running.logs)

        # Stopping waits for no job, however long: it is given back, and nobody calls that a crash.
        submit(running, "long.submit()")
        until(lambda: long_one(running).status == Status.RUNNING, 20, running.logs)
        second.send_signal(signal.SIGTERM)
        assert second.wait(12) == 0
        until(lambda: workers(running) == [], 5, running.logs)
        assert (long_one(running).status, long_one(running).crashes) == (Status.QUEUED, 0)
        with databases.pointed_at(running.url):
            ran = Counter(traces.read_text().split())
            crashes = dict(Job.objects.filter(name="spike.work").values_list("args__number", "crashes"))
            assert len(ran) == JOBS
            assert all(ran[str(number)] <= 1 + crashes[number] for number in range(JOBS))
            assert Scaling.objects.get(group="files").owner == ""
            changes = list(ScalingDecision.objects.order_by("pk").values_list("before", "desired"))
            assert changes[:2] == [(1, 2), (2, 4)]
            assert changes[-1] == (2, 1)
            assert ScalingDecision.objects.aggregate(Max("desired")) == {"desired__max": 4}
        said = running.logs()
        assert "scaled" in said
        assert "Traceback" not in said
