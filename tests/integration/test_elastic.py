"""A real worker whose pool grows with its jobs and shrinks after them, and no job notices."""

import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from longwave.jobs.models import Job, Status
from tests import houses
from tests.houses import House, children_of, count
from tests.installations import EMBEDDED

pytestmark = pytest.mark.chaos


@pytest.fixture(params=[EMBEDDED, "postgresql+rabbitmq"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def house(kind: str, tmp_path: Path) -> Iterator[House]:
    surroundings = {"ELASTIC_CALM": "1.0", "LONGWAVE_LOG_LEVEL": "DEBUG"}
    with houses.house(kind, tmp_path, modules="tests.elastic_room", more=surroundings) as running:
        yield running


def hold(house: House, jobs: int, tmp_path: Path) -> Path:
    """Submit so many that run at a time until the file that is returned is there."""
    gate = tmp_path / uuid.uuid4().hex
    house.submit(
        f"from tests import elastic_room\nfor _ in range({jobs}): elastic_room.hold.submit(gate='{gate}')"
    )
    house.until(lambda: sum(record.get("gate") == str(gate) for record in house.witness.records()) == jobs)
    return gate


def test_children_come_with_jobs_and_go_after_them(house: House, tmp_path: Path) -> None:
    worker = house.worker("--concurrency", "1-4")
    house.until(lambda: len(children_of(worker)) == 1)
    gate = hold(house, 4, tmp_path)
    assert len(children_of(worker)) == 4
    gate.touch()
    house.until(lambda: count(Status.SUCCESS) == 4 and len(children_of(worker)) == 1)
    ((name, answer),) = house.evaluate("presence.workers()").items()
    assert answer["concurrency"] == 4, name  # places, whoever waits in them
    hold(house, 3, tmp_path).touch()
    house.until(lambda: count(Status.SUCCESS) == 7 and len(children_of(worker)) == 1)
    assert not house.logs().count("exited with")


WAVES = """
import random, sys, time
from pathlib import Path
import longwave
longwave.setup()
from tests import elastic_room
dice, number = random.Random(5), 0
while not Path(sys.argv[1]).exists():
    elastic_room.quick.submit(number=number)
    number += 1
    time.sleep(0.01 if number % 6 else 0.2 + dice.random() / 4)
"""


def test_no_job_is_handed_to_a_child_that_goes(kind: str, tmp_path: Path) -> None:
    surroundings = {"ELASTIC_CALM": "0.1", "LONGWAVE_LOG_LEVEL": "DEBUG"}
    with houses.house(kind, tmp_path, modules="tests.elastic_room", more=surroundings) as house:
        house.worker("--concurrency", "1-4")
        enough = tmp_path / "enough"
        with subprocess.Popen([sys.executable, "-c", WAVES, enough], env=house.environment) as waves:
            try:
                house.until(lambda: house.logs().count("pool_shrunk") >= 8)
            finally:
                enough.touch()
        assert waves.returncode == 0
        house.until(lambda: not Job.objects.exclude(status=Status.SUCCESS).exists())
        assert set(Job.objects.values_list("attempt", "crashes")) == {(1, 0)}
        assert set(Counter(record["number"] for record in house.witness.records()).values()) == {1}
