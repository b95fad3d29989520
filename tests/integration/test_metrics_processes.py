"""Real workers, a beat and a web process, scraped while children are killed: the counts are exact and never go back."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from longwave.jobs.models import Job, Status
from tests import databases
from tests.brokers import RedisServer, free_port
from tests.waiting import until

pytestmark = pytest.mark.chaos

MODULE = """
import os, time
from pathlib import Path
from longwave.jobs import job

HERE = Path(__file__).parent

@job("room.work", retries=0, lease=1.0)
def work(number):
    if number % 5 == 0:
        raise LookupError(number)

@job("room.hold", lease=1.0)
def hold():
    (HERE / f"held-{os.getpid()}").touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)

@job("room.deadly", max_crashes=1)
def deadly():
    os.kill(os.getpid(), 9)
"""

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


class House:
    """The processes, on a database and a broker of the test's own."""

    def __init__(self, folder: Path, url: str, broker: str) -> None:
        self.folder, self.web = folder, free_port()
        (folder / "room.py").write_text(MODULE)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGWAVE_")}
        self.environ = kept | {
            "LONGWAVE_HOME": str(folder),
            "LONGWAVE_DATABASE_URL": url,
            "LONGWAVE_BROKER_URL": broker,
            "LONGWAVE_PORT": str(self.web),
            "LONGWAVE_MODULES": "room",
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "longwave", "--parent", str(os.getpid()), *words]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    def submit(self, code: str) -> None:
        head = "import longwave; longwave.setup(); import room;"
        subprocess.run([sys.executable, "-c", head + code], env=self.environ, check=True, timeout=60)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-6000:]

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        until(condition, seconds, self.log)

    def end(self) -> None:
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with databases.empty("postgresql") as url:
        redis = RedisServer(tmp_path)
        home = House(tmp_path, url, redis.url)
        try:
            yield home
        finally:
            home.end()
            redis.stop()


def test_counts_are_exact_and_never_go_back_while_children_are_killed(house: House) -> None:
    worker, beat, web = Scraped(free_port()), Scraped(free_port()), Scraped(house.web)
    options = ("-Q", "default", "--pool", "prefork", "-c", "2", "--metrics", worker.port)
    main = house.start("worker", *options)
    house.start("beat", "--metrics", f"127.0.0.1:{beat.port}")
    house.start("web")
    house.until(lambda: worker.answers() and beat.answers())
    assert worker.last["jobs_total", "room.work", "failure", "default"] == 0  # shown before the first

    house.submit("room.work.submit_many([{'number': n} for n in range(100)]); room.hold.submit()")
    house.until(lambda: (worker.look(), list(house.folder.glob("held-*")))[1])
    (held,) = house.folder.glob("held-*")
    os.kill(int(held.name.removeprefix("held-")), signal.SIGKILL)
    house.until(lambda: (worker.look(), len(list(house.folder.glob("held-*"))))[1] == 2)  # in another child
    (house.folder / "go").touch()
    house.submit("room.deadly.submit(); room.work.submit_many([{'number': n} for n in range(100, 200)])")

    def done() -> bool:
        found = worker.look()
        beat.look()
        return (
            found["jobs_total", "room.work", "success", "default"]
            + found["jobs_total", "room.work", "failure", "default"]
            >= 200
            and Job.objects.filter(name="room.deadly", status=Status.FAILURE).exists()
        )

    house.until(done)
    house.until(lambda: worker.look().get(("jobs_total", "room.deadly", "failure", "default")) == 1)
    house.until(lambda: worker.look()["jobs_total", "room.hold", "success", "default"] == 1)
    for child in psutil.Process(main.pid).children():
        child.kill()
    house.until(
        lambda: len(list((house.folder / "run" / "metrics").glob("*/*_sum-*.db"))) >= 2 and worker.look()
    )
    found = worker.look()
    assert found["jobs_total", "room.work", "success", "default"] == 160
    assert found["jobs_total", "room.work", "failure", "default"] == 40
    assert found["jobs_total", "room.hold", "success", "default"] == 1
    assert found["job_run_seconds_count", "room.work"] == 200
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
        env=house.environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (second.returncode, "Traceback" in second.stderr) == (2, False)
    assert f"--metrics = '127.0.0.1:{worker.port}': cannot be listened on" in second.stderr
    main.send_signal(signal.SIGTERM)
    assert main.wait(20) == 0
