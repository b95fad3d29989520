"""What people know from Celery works against a real worker: `celery inspect`, and Flower behind its logins."""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longwave.jobs.models import Job
from tests import databases
from tests.brokers import EmbeddedServer, RabbitVhost, RedisServer, free_port
from tests.integration.test_worker_health import Installation, done
from tests.waiting import until

pytestmark = pytest.mark.chaos

LOGIN = "ann:se:cret"


BROKERS = {
    "embedded": lambda folder: EmbeddedServer(folder / "home"),
    "redis": RedisServer,
    "rabbitmq": lambda _: RabbitVhost(),
}


@pytest.fixture(params=["embedded", "rabbitmq"])  # the embedded one is a Redis too
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with databases.empty("sqlite") as url:
        broker = BROKERS[request.param](tmp_path)
        installation = Installation(tmp_path, url, broker)
        try:
            yield installation
        finally:
            installation.end()
            broker.stop()


def inspected(place: Installation, *words: str) -> Any:
    """What `celery inspect` prints, from a folder that has nothing to do with it, for the one worker."""
    command = [sys.executable, "-m", "celery", "-A", "longwave.celery", "inspect", "--json", "--timeout", "2"]
    asked = subprocess.run([*command, *words], env=place.environ, cwd="/", capture_output=True, text=True)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    answers = json.loads(asked.stdout)
    assert list(answers) == [place.name]
    return answers[place.name]


class Flower:
    """A Flower of the installation."""

    def __init__(self, place: Installation, *words: str, **environ: str) -> None:
        self.port = free_port()
        self.process = place.start("flower", "--port", str(self.port), *words, **environ)
        until(lambda: place.events("flower_listens"), 30, place.story)

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


def test_celery_s_own_questions_are_answered_with_the_names_of_jobs(place: Installation) -> None:
    worker = place.worker("-c", "1", "-Q", "default,import", "--name", "w")
    place.submit("jobs.stubborn.submit(seconds=60)")
    until(lambda: place.traces(), 20, place.story)
    assert inspected(place, "ping") == {"ok": "pong"}
    assert sorted(
        queue["name"] for queue in inspected(place, "active_queues", "--destination", place.name)
    ) == ["default", "import"]
    (active,) = inspected(place, "active", "--destination", place.name)
    assert (active["name"], active["args"]) == ("health.stubborn", [[[Job.objects.get().pk, 1]]])
    assert "health.short" in inspected(place, "registered", "--destination", place.name)
    stats = inspected(place, "stats", "--destination", place.name)
    assert (stats["pid"], stats["total"]) == (worker.pid, {"health.stubborn": 1})
    assert stats["pool"]["max-concurrency"] == 1


def test_flower_shows_workers_jobs_and_queues_to_those_who_may_see_them(place: Installation) -> None:
    place.worker("-c", "1", "-Q", "default,import", "--name", "w")
    flower = Flower(place, "--address", "0.0.0.0", LONGWAVE_FLOWER_AUTH=f"bob:x,{LOGIN}")
    assert flower.refusal("/api/workers", "") == 401
    assert flower.refusal("/api/workers", "ann:wrong") == 401
    assert flower.refusal("/", "") == 401
    assert isinstance(flower.get("/api/workers?status=1", "bob:x"), dict)

    until(lambda: flower.get("/api/workers?status=1") == {place.name: True}, 30, place.story)
    queues = flower.get("/api/workers?refresh=1")[place.name]["active_queues"]
    assert sorted(queue["name"] for queue in queues) == ["default", "import"]

    place.submit("jobs.short.submit(number=1)")
    until(lambda: done("health.short") == 1, 20, place.story)
    until(lambda: flower.get("/api/tasks"), 10, place.story)
    until(
        lambda: [task["state"] for task in flower.get("/api/tasks").values()] == ["SUCCESS"], 10, place.story
    )
    (task,) = flower.get("/api/tasks").values()
    assert (task["name"], task["worker"]) == ("health.short", place.name)
    for page in ("/workers", "/tasks", "/broker", f"/worker/{place.name}"):
        assert "Flower" in flower.get(page)

    if "amqp" not in (place.broker.url or ""):  # there it needs the management plugin
        place.submit("jobs.stubborn.submit(seconds=60)")
        until(lambda: any("begun" in line for line in place.traces()), 10, place.story)
        place.submit("[jobs.stubborn.submit(seconds=60) for _ in range(5)]")  # in one message or in several

        def waiting() -> int:
            queues = flower.get("/api/queues/length")["active_queues"]
            return int({queue["name"]: queue["messages"] for queue in queues}["import"])

        until(lambda: waiting() >= 1, 10, place.story)
    flower.process.terminate()
    assert flower.process.wait(10) == 0


@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_without_logins_flower_is_for_this_machine_only(place: Installation) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "longwave", "flower", "--address", "0.0.0.0"],
        env=place.environ,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "--address = '0.0.0.0'" in refused.stderr
    assert "set LONGWAVE_FLOWER_AUTH=user:password" in refused.stderr
    flower = Flower(place)
    assert "Flower" in flower.get("/workers", "")
    again = subprocess.run(
        [sys.executable, "-m", "longwave", "flower", "--port", str(flower.port)],
        env=place.environ,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 2
    assert "is taken by another program" in again.stderr
    os.kill(flower.process.pid, signal.SIGINT)
    assert flower.process.wait(10) == 0
