"""Real workers, a beat and a web process, scraped while children are killed: the counts are exact and never go back."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from longwave.jobs.models import Job, Status
from tests import houses
from tests.brokers import free_port
from tests.houses import House

pytestmark = pytest.mark.chaos

Samples = dict[tuple[str, ...], float]


def fetched(url: str) -> Samples:
    """(name, labels' values by label …) → value of every sample."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        (
            sample.name.removeprefix("longwave_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


class Scraped:
    """A page that is looked at again and again; what it counts never goes back."""

    def __init__(self, port: int) -> None:
        self.port = str(port)
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.last: Samples = {}

    def look(self) -> Samples:
        now = fetched(self.url)
        counted = {key for key in self.last if key[0].endswith(("_total", "_bucket", "_count", "_sum"))}
        assert {
            key: (self.last[key], now.get(key)) for key in counted if now.get(key, -1) < self.last[key]
        } == {}
        self.last = now
        return now

    def answers(self) -> bool:
        try:
            self.look()
        except OSError:
            return False
        return True


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    with houses.house("postgresql+redis", home, modules="tests.counted_room") as running:
        yield running


def submit(house: House, code: str) -> None:
    house.submit(f"from tests import counted_room as jobs; {code}")


def test_counts_are_exact_and_never_go_back_while_children_are_killed(house: House) -> None:
    worker, beat, web = (
        Scraped(free_port()),
        Scraped(free_port()),
        Scraped(int(house.environment["LONGWAVE_PORT"])),
    )
    options = ("-Q", "default", "--pool", "prefork", "-c", "2", "--metrics", worker.port)
    main = house.worker(*options)
    house.man("beat", "beat", "--metrics", f"127.0.0.1:{beat.port}")
    house.man("web", "web")
    house.until(lambda: worker.answers() and beat.answers())
    assert worker.last["jobs_total", "counted.work", "failure", "default"] == 0  # shown before the first

    submit(
        house,
        "jobs.work.submit_many([{'number': n} for n in range(100)]); jobs.hold.submit()",
    )
    house.until(lambda: (worker.look(), list(house.home.glob("held-*")))[1])
    (held,) = house.home.glob("held-*")
    os.kill(int(held.name.removeprefix("held-")), signal.SIGKILL)
    house.until(lambda: (worker.look(), len(list(house.home.glob("held-*"))))[1] == 2)  # in another child
    (house.home / "go").touch()
    submit(
        house,
        "jobs.deadly.submit(); jobs.work.submit_many([{'number': n} for n in range(100, 200)])",
    )

    def done() -> bool:
        found = worker.look()
        beat.look()
        return (
            found["jobs_total", "counted.work", "success", "default"]
            + found["jobs_total", "counted.work", "failure", "default"]
            >= 200
            and Job.objects.filter(name="counted.deadly", status=Status.FAILURE).exists()
        )

    house.until(done)
    house.until(lambda: worker.look().get(("jobs_total", "counted.deadly", "failure", "default")) == 1)
    house.until(lambda: worker.look()["jobs_total", "counted.hold", "success", "default"] == 1)
    for child in psutil.Process(main.pid).children():
        child.kill()
    house.until(
        lambda: len(list((house.home / "run" / "metrics").glob("*/*_sum-*.db"))) >= 2 and worker.look()
    )
    found = worker.look()
    assert found["jobs_total", "counted.work", "success", "default"] == 160
    assert found["jobs_total", "counted.work", "failure", "default"] == 40
    assert found["jobs_total", "counted.hold", "success", "default"] == 1
    assert found["job_run_seconds_count", "counted.work"] == 200
    assert found["job_wait_seconds_count", "default"] == 201
    assert found["scrape_errors_total", "events"] == 0

    house.until(lambda: web.answers() and web.last.get(("workers",)) == 1)
    assert (web.last["broker_up",], web.last["beat_running",]) == (1, 1)
    assert (web.last["queue_ready_jobs", "default"], web.last["queue_workers", "default"]) == (0, 1)
    assert sum(value for key, value in web.last.items() if key[0] == "scrape_errors_total") == 0

    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(worker.url.replace("/metrics", "/other"), timeout=10)
    second = subprocess.run(
        [sys.executable, "-m", "longwave", "worker", "--metrics", worker.port],
        env=house.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (second.returncode, "Traceback" in second.stderr) == (2, False)
    assert f"--metrics = '127.0.0.1:{worker.port}': cannot be listened on" in second.stderr
    main.send_signal(signal.SIGTERM)
    assert main.wait(20) == 0
