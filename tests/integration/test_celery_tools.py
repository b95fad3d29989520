"""What people know from Celery works against a real worker: `celery inspect`, and Flower behind its logins."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longwave.jobs.models import Job
from tests.brokers import free_port
from tests.health.house import done, inhabited, submit, traces
from tests.houses import House

pytestmark = pytest.mark.chaos

LOGIN = "ann:se:cret"


NAME = f"w@{socket.gethostname()}"


@pytest.fixture(params=["sqlite+embedded", "sqlite+rabbitmq"])  # the embedded one is a Redis too
def house(request: pytest.FixtureRequest, home: Path) -> Iterator[House]:
    with inhabited(request.param, home) as running:
        yield running


def inspected(house: House, *words: str) -> Any:
    """What `celery inspect` prints, from a folder that has nothing to do with it, for the one worker."""
    command = [sys.executable, "-m", "celery", "-A", "longwave.celery", "inspect", "--json", "--timeout", "2"]
    asked = subprocess.run([*command, *words], env=house.environment, cwd="/", capture_output=True, text=True)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    answers = json.loads(asked.stdout)
    assert list(answers) == [NAME]
    return answers[NAME]


class Flower:
    """A Flower of the installation."""

    def __init__(self, house: House, *words: str, **environ: str) -> None:
        self.port = free_port()
        self.process = house.start("flower", "--port", str(self.port), *words, **environ)
        house.others.append(self.process)
        house.until(lambda: house.events("flower_listens"), 30)

    def get(self, path: str, login: str = LOGIN) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
        return json.loads(text) if path.startswith("/api") else text

    def refusal(self, path: str, login: str) -> int:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.get(path, login)
        caught.value.close()
        return caught.value.code


def test_celery_s_own_questions_are_answered_with_the_names_of_jobs(house: House) -> None:
    worker = house.ready_worker("-c", "1", "-Q", "default,import", "--name", "w")
    submit(house, "jobs.stubborn.submit(seconds=60)")
    house.until(lambda: traces(house), 20)
    assert inspected(house, "ping") == {"ok": "pong"}
    assert sorted(queue["name"] for queue in inspected(house, "active_queues", "--destination", NAME)) == [
        "default",
        "import",
    ]
    (active,) = inspected(house, "active", "--destination", NAME)
    assert (active["name"], active["args"]) == ("health.stubborn", [[[Job.objects.get().pk, 1]]])
    assert "health.short" in inspected(house, "registered", "--destination", NAME)
    stats = inspected(house, "stats", "--destination", NAME)
    assert (stats["pid"], stats["total"]) == (worker.pid, {"health.stubborn": 1})
    assert stats["pool"]["max-concurrency"] == 1


def test_flower_shows_workers_jobs_and_queues_to_those_who_may_see_them(house: House) -> None:
    house.ready_worker("-c", "1", "-Q", "default,import", "--name", "w")
    flower = Flower(house, "--address", "0.0.0.0", LONGWAVE_FLOWER_AUTH=f"bob:x,{LOGIN}")
    assert flower.refusal("/api/workers", "") == 401
    assert flower.refusal("/api/workers", "ann:wrong") == 401
    assert flower.refusal("/", "") == 401
    assert isinstance(flower.get("/api/workers?status=1", "bob:x"), dict)

    house.until(lambda: flower.get("/api/workers?status=1") == {NAME: True}, 30)
    queues = flower.get("/api/workers?refresh=1")[NAME]["active_queues"]
    assert sorted(queue["name"] for queue in queues) == ["default", "import"]

    submit(house, "jobs.short.submit(number=1)")
    house.until(lambda: done("health.short") == 1, 20)
    house.until(lambda: flower.get("/api/tasks"), 10)
    house.until(lambda: [task["state"] for task in flower.get("/api/tasks").values()] == ["SUCCESS"], 10)
    (task,) = flower.get("/api/tasks").values()
    assert (task["name"], task["worker"]) == ("health.short", NAME)
    for page in ("/workers", "/tasks", "/broker", f"/worker/{NAME}"):
        assert "Flower" in flower.get(page)

    if "amqp" not in (house.broker.url or ""):  # there it needs the management plugin
        submit(house, "jobs.stubborn.submit(seconds=60)")
        house.until(lambda: any("begun" in line for line in traces(house)), 10)
        submit(house, "[jobs.stubborn.submit(seconds=60) for _ in range(5)]")  # in one message or in several

        def waiting() -> int:
            queues = flower.get("/api/queues/length")["active_queues"]
            return int({queue["name"]: queue["messages"] for queue in queues}["import"])

        house.until(lambda: waiting() >= 1, 10)
    flower.process.terminate()
    assert flower.process.wait(10) == 0


@pytest.mark.parametrize("house", ["sqlite+redis"], indirect=True)
def test_without_logins_flower_is_for_this_machine_only(house: House) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "longwave", "flower", "--address", "0.0.0.0"],
        env=house.environment,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "--address = '0.0.0.0'" in refused.stderr
    assert "set LONGWAVE_FLOWER_AUTH=user:password" in refused.stderr
    flower = Flower(house)
    assert "Flower" in flower.get("/workers", "")
    again = subprocess.run(
        [sys.executable, "-m", "longwave", "flower", "--port", str(flower.port)],
        env=house.environment,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 2
    assert "is taken by another program" in again.stderr
    os.kill(flower.process.pid, signal.SIGINT)
    assert flower.process.wait(10) == 0
