"""Longwave as it runs for real: processes, a database and a broker of the test's own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from longwave.ops import broker as embedded
from longwave.ops import processes
from tests import brokers
from tests.brokers import Broker
from tests.waiting import until

ROOT = Path(__file__).parents[1]
EMBEDDED = "sqlite+embedded"
JOB_STACKS = (EMBEDDED, "postgresql+redis", "postgresql+rabbitmq", "mariadb+redis")
"""What jobs are tried on: each database, and each broker."""

LAST = "{id}"
"""In the words of a command: the id of what the command before it made."""

ONE_AFTER_ANOTHER = """
import contextlib, io, json, sys
from longwave.cli import main
said = io.StringIO()
for words, given in json.load(sys.stdin):
    if "{id}" in words:
        words[words.index("{id}")] = str(json.loads(said.getvalue())["id"])
    said, sys.stdin = io.StringIO(), io.StringIO(given)
    with contextlib.redirect_stdout(said):
        try:
            main(words)
        except SystemExit as end:
            if end.code:
                raise
print(said.getvalue())
"""

Command = tuple[tuple[str, ...], str]
"""The words of a command, and its standard input."""


@dataclass
class Installation:
    """What runs in one data folder. `broker` is None where `longwave up` brings it."""

    kind: str
    home: Path
    environment: dict[str, str]
    url: str
    broker: Broker | None = None
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    others: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    # --- the command line -----------------------------------------------------------------------------------------

    def run(self, *words: str, stdin: str = "", check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run one `longwave` command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "longwave", *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"longwave {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def run_all(self, *commands: Command) -> Any:
        """Run several commands in one process, whose start costs more than they do; the JSON of the last one."""
        words = [sys.executable, "-c", ONE_AFTER_ANOTHER]
        given = json.dumps(commands)
        done = subprocess.run(
            words, env=self.environment, input=given, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{given}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def ask(self, *words: str, stdin: str = "") -> Any:
        """Run one `longwave … --json` command and give back what it printed."""
        return json.loads(self.run(*words, "--json", stdin=stdin).stdout)

    # --- processes --------------------------------------------------------------------------------------------------

    def start(self, *words: str, **environ: str) -> "subprocess.Popen[bytes]":
        """Start one `longwave` command that runs until it is stopped. environ: what else it has there."""
        log = (self.home / f"{words[0]}-{uuid.uuid4().hex[:6]}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "longwave", "--parent", str(os.getpid()), *words],
            env=self.environment | environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        return process

    def child(self, name: str) -> int:
        """The pid of one child of `longwave up`; 0 when there is none now."""
        pids = {record.name: record.pid for record in self.children()}
        return pids.get(name, 0)

    def children(self) -> list[processes.Record]:
        """The children of `longwave up`."""
        return processes.load(self.home / "run" / "children.json")

    def kill_everything(self) -> None:
        """kill -9 of every process of the installation at once, its broker too.

        RabbitMQ is the machine's: there the virtual host goes, with all that is in it.
        """
        ours = [p for p in (*self.workers, *self.others) if p.poll() is None]
        mains = [psutil.Process(process.pid) for process in ours]
        for process in [*mains, *(child for main in mains for child in main.children(recursive=True))]:
            process.kill()
        for process in ours:
            process.wait()
        self.workers.clear()
        self.others.clear()
        if self.broker is not None:
            self.broker.stop()

    def stop(self) -> None:
        """Stop all processes in good order; those that take too long are killed."""
        running = [p for p in (*self.workers, *self.others) if p.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def left_behind(self) -> list[psutil.Process]:
        """Everything alive that was started for this data folder, wherever it hangs in the tree."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("LONGWAVE_HOME") == str(self.home)
        except psutil.Error:  # zombies have none
            return False

    def is_healthy(self) -> bool:
        """Whether the web process answers that all is well."""
        page = f"http://127.0.0.1:{self.environment['LONGWAVE_PORT']}/healthz"
        try:
            with urllib.request.urlopen(page, timeout=2) as answer:
                return bool(json.load(answer)["status"] == "ok")
        except OSError:
            return False

    # --- the broker -------------------------------------------------------------------------------------------------

    def empty_broker(self) -> None:
        """The broker loses everything it had."""
        if self.broker is not None:
            self.broker.empty()
        else:
            embedded.flush(self._broker_socket())

    def replace_broker(self) -> None:
        """The broker dies, and an empty one comes in its place. The embedded one is replaced by `longwave up`."""
        if self.broker is not None:
            self.broker.stop()
            until(self._have_lost_the_broker, 10, self.logs)
            self.broker.start()
            return
        dead = self.child("broker")
        os.kill(dead, signal.SIGKILL)
        until(lambda: self.child("broker") != dead and embedded.ping(self._broker_socket()), 10, self.logs)

    @contextlib.contextmanager
    def broker_away(self) -> Iterator[float]:
        """The broker is dead while the block runs, and comes back empty. The value is since when, in Unix time.

        The embedded one is started by `longwave up` again and again, and dies as soon as it is seen.
        """
        if self.broker is not None:
            self.broker.stop()
            yield time.time()
            self.broker.start()
            return
        over = threading.Event()
        killer = threading.Thread(target=self._kill_brokers, args=(over,))
        killer.start()
        try:
            yield time.time()
        finally:
            over.set()
            killer.join()

    def _kill_brokers(self, over: threading.Event) -> None:
        while not over.wait(0.02):
            if pid := self.child("broker"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _have_lost_the_broker(self) -> bool:
        """Whether every worker has noticed."""
        said = [path.read_text(errors="replace") for path in self.home.glob("worker-*.log")]
        return all("consumer_disconnected" in log for log in said)

    def _broker_socket(self) -> Path:
        return brokers.socket_of(self.home)

    # --- what is said about it --------------------------------------------------------------------------------------

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of all processes whose event is, or contains, these words."""
        found = []
        for path in sorted(self.home.glob("*.log")):
            for line in path.read_text(errors="replace").splitlines():
                values = json.loads(line) if line.startswith("{") else {"event": line}
                if event in str(values["event"]):
                    found.append(values)
        return found

    def events(self, event: str) -> int:
        """How many they are."""
        return len(self.lines(event))

    def logs(self) -> str:
        """What every process said, for the report of a failed test."""
        return "".join(
            f"--- {path.name}\n{path.read_text(errors='replace')}" for path in self.home.glob("*.log")
        )


def environment(home: Path, **settings: str | None) -> dict[str, str]:
    """What processes are told: this environment, with Longwave's settings and nothing else of Longwave's."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LONGWAVE_", "DJANGO_"))
    }
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    given = {f"LONGWAVE_{name.upper()}": value for name, value in settings.items() if value is not None}
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "LONGWAVE_HOME": str(home), **given}
