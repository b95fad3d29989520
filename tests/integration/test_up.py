"""`longwave up` for real: what it starts, what survives, and that nothing stays behind."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

WORKERS = ("send-", "general-")
OUR_FORMAT = re.compile(r"\| \d{4}-\d\d-\d\dT[\d:.]+Z \[\w+ *\] .+ \[[\w.]+\]")
SOURCE = Path(__file__).parents[2] / "src"


def until(condition: Callable[[], object], *, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Installation:
    """A data folder, a port, and what runs on them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "LONGWAVE_HOME": str(home),
            "LONGWAVE_PORT": str(self.port),
            "LONGWAVE_LOG_DIR": str(home / "logs"),
        }
        self.log = home.parent / "up.log"

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "longwave", "up"]
            return subprocess.Popen(command, env=self.environ, stdout=log, stderr=subprocess.STDOUT)

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "longwave", *args]
        return subprocess.run(
            command, env=self.environ, input=stdin, capture_output=True, text=True, timeout=60
        )

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as answer:
                return bool(json.load(answer)["status"] == "ok")
        except OSError:
            return False

    def children(self) -> dict[str, int]:
        try:
            records = json.loads((self.home / "run" / "children.json").read_text())
        except FileNotFoundError:
            return {}
        return {record["name"]: record["pid"] for record in records}

    def workers(self) -> str:
        """Doctor's finding about them."""
        findings: list[dict[str, Any]] = json.loads(self.run("doctor", "--json").stdout)
        return next((each["found"] for each in findings if each["check"] == "workers"), "")

    def is_up(self) -> bool:
        return self.is_healthy() and "2 answer: general-1@" in self.workers()

    def processes(self) -> list[psutil.Process]:
        """Everything alive that was started for this data folder, wherever it hangs in the tree."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def kill_all(self) -> int:
        """Kill -9 whatever lives; how many there were."""
        found = self.processes()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):  # with its parent it may have ended by itself
                process.kill()
        return len(found)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("LONGWAVE_HOME") == str(self.home)
        except psutil.Error:  # zombies have none
            return False


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """An installation. Whatever a failed test leaves is killed.

    deep, as a parameter: its folder is so deep that the broker's socket does not fit into it.
    """
    is_deep = getattr(request, "param", "") == "deep"
    folder = tmp_path.joinpath(*["a-rather-deep-folder"] * 5) if is_deep else tmp_path
    (folder / "home").mkdir(parents=True)
    installation = Installation(folder / "home")
    yield installation
    until(lambda: installation.kill_all() == 0)
    print(installation.log.read_text())  # shown when the test failed


def test_up_heals_what_dies_refuses_a_second_and_stops_with_nothing_left(place: Installation) -> None:
    up = place.start()
    until(place.is_up)
    assert place.children().keys() == {"broker", "web", "beat", "send-1", "general-1"}

    second = place.run("up")
    assert second.returncode == 1
    assert f"pid {up.pid}" in second.stderr

    before = place.children()
    for name in ("broker", "web", "beat", "send-1"):
        os.kill(before[name], signal.SIGKILL)
    until(
        lambda: all(
            place.children().get(name, pid) != pid for name, pid in before.items() if name != "general-1"
        )
    )
    until(place.is_up)
    assert place.children()["general-1"] == before["general-1"]

    ordered = time.monotonic()
    up.send_signal(signal.SIGTERM)
    assert up.wait(15) == 0
    assert time.monotonic() - ordered < 10
    assert place.processes() == []

    lines = place.log.read_text().splitlines()
    assert any("next         longwave sender add telegram" in line for line in lines)
    assert lines[-1].split() == ["up", "|", "stopped"]
    assert any("Warm shutdown" in line for line in lines)
    strange = [line for line in lines if line.startswith(WORKERS) and not OUR_FORMAT.search(line)]
    assert strange == []
    kept = {path.name: path.read_text() for path in (place.home / "logs").iterdir()}
    assert kept.keys() == {"up.log", "web.log", "beat.log", "worker.log"}
    assert all(" pid=" in line for text in kept.values() for line in text.splitlines())
    assert all(f"worker={name}-1@" in kept["worker.log"] for name in ("send", "general"))
    assert "child ended" in kept["up.log"]
    assert "Listening at" in kept["web.log"]


def test_up_serves_the_regions_of_its_senders_and_says_what_comes_next(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    place = Installation(tmp_path / "home")
    add = ("sender", "add", "memory", "--name", "shop", "--token-stdin", "--region", "eu")
    assert place.run(*add, stdin="secret").returncode == 0
    up = place.start()
    try:
        until(place.is_up)
        findings = {each["check"]: each for each in json.loads(place.run("doctor", "--json").stdout)}
        assert findings["region eu"]["verdict"] == "ok"
        up.send_signal(signal.SIGTERM)
        assert up.wait(15) == 0
    finally:
        until(lambda: place.kill_all() == 0)
    said = place.log.read_text()
    assert "regions      eu;" in said
    assert "next         longwave campaign list" in said


@pytest.mark.parametrize("place", ["deep"], indirect=True)
def test_after_kill_9_up_ends_what_was_left_and_goes_on(place: Installation) -> None:
    first = place.start()
    until(place.is_up)
    old = place.children()
    first.kill()
    first.wait(5)

    second = place.start()  # at once: the orphans have hardly noticed
    until(place.is_up)
    assert not [pid for pid in old.values() if pid in {process.pid for process in place.processes()}]

    second.kill()
    second.wait(5)
    until(lambda: place.kill_all() == 0)  # the rest of the tree
    third = place.start()
    until(place.is_up)
    third.send_signal(signal.SIGINT)
    assert third.wait(15) == 0
    assert place.processes() == []


def test_orphans_end_by_themselves_and_the_broker_waits_for_the_next_up(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    place = Installation(tmp_path / "home")
    up = place.start()
    try:
        until(place.is_up)
        broker = place.children()["broker"]
        up.kill()
        up.wait(5)
        until(lambda: len(place.processes()) <= 1, within=12)
        assert [process.pid for process in place.processes()] == [broker]
    finally:
        until(lambda: place.kill_all() == 0)


def test_a_taken_port_is_named_and_nothing_stays_behind(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    place = Installation(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.port))
        taken.listen()
        done = place.run("up")
    assert done.returncode == 2
    assert f"LONGWAVE_PORT = {place.port}: is taken by another program" in done.stderr
    assert place.processes() == []


def test_ctrl_c_stops_a_worker_in_good_order_and_every_line_is_in_our_format(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    place = Installation(tmp_path / "home")
    assert place.run("migrate").returncode == 0
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "longwave", "worker", "--concurrency", "1"]
        worker = subprocess.Popen(command, env=place.environ, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: "consumer_disconnected" in log.read_text())  # there is no broker
        worker.send_signal(signal.SIGINT)
        assert worker.wait(15) == 0
    finally:
        until(lambda: place.kill_all() == 0)
    lines = log.read_text().splitlines()
    assert "Warm shutdown" in lines[-1]
    assert [line for line in lines if not OUR_FORMAT.search(f"| {line}")] == []
