"""An installation to measure: a folder, a database, a broker, beat, workers, and the fake Telegram.

One a process: Longwave reads its settings once. Everything is gone when the `with` block ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import psutil

from longwave.testing.fake_telegram import FakeTelegram
from results import Broken

if TYPE_CHECKING:
    from longwave.contacts.models import ContactList

T = TypeVar("T")
Database = Literal["sqlite", "postgresql"]

TOKEN = "4242424242:BENCH-token-of-the-fake-telegram-server"
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
RABBITMQ = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
SENDING, SINGLE = "campaigns,broadcast", "notifications,default"
LANES_AT_ONCE, SINGLE_AT_ONCE = 16, 2
"""As `longwave up` starts its workers."""

PLAIN = {"kind": "text", "text": "Good morning, this is a benchmark."}
PERSONAL = {"kind": "text", "text": "Good morning {{ name }}, this is a benchmark."}
PATIENCE = 900.0
BENCH = Path(__file__).parents[1]


def has_postgres() -> bool:
    """Whether there is a PostgreSQL server to measure on."""
    try:
        import psycopg

        psycopg.connect(POSTGRES, connect_timeout=3).close()
    except Exception:  # not installed, not running, no rights: all mean no
        return False
    return True


def has_rabbitmq() -> bool:
    """Whether there is a RabbitMQ server on this machine that may be given a virtual host."""
    if shutil.which("rabbitmqctl") is None:
        return False
    return subprocess.run(["rabbitmqctl", "-q", "ping"], capture_output=True).returncode == 0


@contextmanager
def stage(
    kind: Database,
    *,
    workers: int = 1,
    sender_rate: float = 0,
    burst_guard: float | None = None,
    modules: str = "",
    on_rabbitmq: bool = False,
    **telegram: Any,
) -> Iterator["Stage"]:
    """A running installation with a sender; the fake has no limits and answers at once unless `telegram` says so.

    modules: with jobs of the benchmark's own, as LONGWAVE_MODULES takes them. on_rabbitmq: not on a Valkey of its own.
    """
    with ExitStack() as things:
        home = Path(things.enter_context(tempfile.TemporaryDirectory(prefix="longwave-bench-")))
        broker = new_vhost(things) if on_rabbitmq else None
        _own_environment(home, new_database(things) if kind == "postgresql" else None, modules, broker)
        fake = FakeTelegram(**{"rate": None, "chat_burst": None, **telegram})
        things.enter_context(fake)
        _load()
        built = Stage(home, fake, things)
        things.callback(_close_connections)
        built.open_for_business(workers, sender_rate, burst_guard)
        things.callback(_flush)
        yield built


class Stage:
    """A running installation."""

    def __init__(self, home: Path, telegram: FakeTelegram, things: ExitStack) -> None:
        self.home = home
        self.telegram = telegram
        self.workers: list[subprocess.Popen[bytes]] = []
        self._things = things
        self._lists: dict[int, ContactList] = {}

    def open_for_business(self, workers: int, rate: float, burst_guard: float | None) -> None:
        """Start what runs, and add the sender."""
        from django.core.management import call_command

        from longwave import config
        from longwave.ops import broker
        from longwave.senders import senders

        call_command("migrate", verbosity=0)
        if config.current().is_embedded:
            self.broker = config.broker_socket(config.current())
            broker.prepare(self.broker)
            self._run(broker.command(self.broker))
            until(lambda: broker.ping(self.broker), 20, "the broker does not answer")
        self.start("beat")
        for _ in range(workers):
            self.start_worker()
        url = self.telegram.base_url
        self.sender = senders.add(
            "telegram", "bench", TOKEN, rate=rate, base_url=url, burst_guard=burst_guard
        )

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_worker(self) -> psutil.Process:
        """One more process that sends campaigns, ready to work."""
        options = ("--queues", SENDING, "--pool", "threads", "--concurrency", str(LANES_AT_ONCE))
        worker = self.start("worker", *options, "--name", f"send{len(self.workers)}")
        self.workers.append(worker)
        return psutil.Process(worker.pid)

    def start_single_worker(self) -> None:
        """The process that sends single messages, ready to work."""
        self.start("worker", "--queues", SINGLE, "--concurrency", str(SINGLE_AT_ONCE), "--name", "single")

    def stop_worker(self) -> None:
        """End the newest worker, which has nothing left to do."""
        kill(self.workers.pop())

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """A `longwave` command as a process that ends with this one."""
        return self._run([sys.executable, "-m", "longwave", "--parent", str(os.getpid()), *words])

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self.home / f"{uuid.uuid4().hex[:8]}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._things.callback(kill, process)
        return process

    def logs(self) -> str:
        """What the processes said."""
        return "".join(path.read_text(errors="replace") for path in self.home.glob("*.log"))

    # --- contacts and campaigns ---------------------------------------------------------------------------------------

    def contacts(self, count: int) -> "ContactList":
        """A list of the chats 1…count, imported at the first call."""
        from longwave.contacts import importing, lists

        if count not in self._lists:
            path = self.home / "people.csv"
            with path.open("w") as file:
                file.write("chat_id,name\n")
                file.writelines(f"{chat},Person {chat}\n" for chat in range(1, count + 1))
            found = self._lists[count] = lists.get_or_create(f"first {count}", "telegram")
            with path.open("rb") as source:
                importing.import_csv(source, channel="telegram", contact_list=found)
            path.unlink()
        return self._lists[count]

    def launch(self, recipients: int, content: Mapping[str, Any] = PLAIN) -> int:
        """Start a campaign; its id."""
        from longwave.campaigns import drafting, lifecycle

        draft = drafting.Draft(
            sender=self.sender, content=content, contact_list=self.contacts(recipients), name="bench"
        )
        campaign = drafting.create(draft)
        lifecycle.start(campaign.pk)
        return int(campaign.pk)

    def wait(self, campaign: int, *states: str, every: float = 0.1) -> None:
        """Until the campaign is in one of `states`. Raises Broken when it ends or pauses elsewhere."""
        stuck = {"paused", "failed", "cancelled"} - set(states)

        def is_there() -> bool:
            state, reason = self._state(campaign)
            if state in stuck:
                raise Broken(f"campaign {campaign} is {state}: {reason}\n{self.logs()[-3000:]}")
            return state in states

        until(is_there, PATIENCE, f"campaign {campaign} did not become {' or '.join(states)}", every)

    @staticmethod
    def _state(campaign: int) -> tuple[str, str]:
        from longwave.campaigns.models import Campaign

        return Campaign.objects.values_list("state", "reason").get(pk=campaign)

    def broadcast(self, recipients: int, content: Mapping[str, Any] = PLAIN) -> "Run":
        """One campaign from start to end, checked: everybody got it once, and every receipt says so."""
        self.contacts(recipients)  # imported before the clock starts
        began, since = time.perf_counter(), time.time()
        campaign = self.launch(recipients, content)
        self.wait(campaign, "running", "completed", every=0.02)
        froze, before = time.perf_counter() - began, self._cpu()
        self.wait(campaign, "completed")
        cpu = self._cpu() - before
        stats = self.telegram.stats(since=since)
        self._check(campaign, recipients, stats)
        return Run(recipients, froze, cpu, stats)

    def _cpu(self) -> float:
        """Seconds of processor time that the sending workers have used."""
        times = [psutil.Process(worker.pid).cpu_times() for worker in self.workers]
        return sum((float(time.user + time.system) for time in times), 0.0)

    @staticmethod
    def _check(campaign: int, recipients: int, stats: Mapping[str, Any]) -> None:
        from longwave.campaigns.models import Delivery

        sent = Delivery.objects.filter(campaign_id=campaign, state="sent", message_id__isnull=False).count()
        if (sent, stats["chats"], stats["twice"]) != (recipients, recipients, 0):
            raise Broken(
                f"{recipients} recipients, {sent} receipts, {stats['chats']} reached, {stats['twice']} twice"
            )


class Run:
    """What one campaign measured. Times and rates are the fake's; cpu_us is a worker's processor time a message."""

    def __init__(self, recipients: int, froze: float, cpu: float, stats: Mapping[str, Any]) -> None:
        self.froze = froze
        self.cpu_us = cpu / recipients * 1e6
        self.seconds = float(stats["last_at"] - stats["first_at"])
        self.rate = float(stats["mean_rate"] or 0.0)
        self.peak = int(stats["peak_second"])
        self.caused_429 = int(stats["caused_429"])


def peak_mb(pid: int) -> float:
    """The most memory a process has ever had, in MB (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise Broken(f"process {pid} is gone")


def until(condition: Callable[[], T], timeout: float, complaint: str, every: float = 0.02) -> T:
    """Look until `condition` is true; its value. Raises Broken after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Broken(f"{complaint} within {timeout:g} s")
        time.sleep(every)
    return value


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its family, in good order if it can."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(12)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its family at once: nothing of it is needed any more."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _own_environment(home: Path, database_url: str | None, modules: str, broker_url: str | None) -> None:
    """Nothing of the user's own installation is used or touched."""
    for name in [name for name in os.environ if name.startswith("LONGWAVE_")]:
        del os.environ[name]
    os.environ |= {"LONGWAVE_HOME": str(home), "LONGWAVE_LOG_LEVEL": "WARNING"}
    if database_url:
        os.environ["LONGWAVE_DATABASE_URL"] = database_url
    if broker_url:
        os.environ["LONGWAVE_BROKER_URL"] = broker_url
    if modules:
        os.environ["LONGWAVE_MODULES"] = modules
        os.environ["PYTHONPATH"] = os.pathsep.join([str(BENCH), os.environ.get("PYTHONPATH", "")])


def _load() -> None:
    import longwave

    longwave.setup()
    from longwave.jobs import rooms

    rooms.load()


def _flush() -> None:
    """Before the broker ends: ring for what was submitted last."""
    from longwave.jobs import ringer

    ringer.flush(60)


def _close_connections() -> None:
    from django.db import connections

    connections.close_all()


def new_database(things: ExitStack) -> str:
    """A new database on the PostgreSQL server, dropped at the end."""
    import psycopg

    name = f"longwave_bench_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(POSTGRES, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    things.callback(_drop, name)
    return POSTGRES.rsplit("/", 1)[0] + "/" + name


def new_vhost(things: ExitStack) -> str:
    """A new virtual host on the RabbitMQ server, deleted at the end."""
    name, user = f"longwave-bench-{uuid.uuid4().hex[:10]}", RABBITMQ.split("//")[1].split(":")[0]
    for words in (["add_vhost", name], ["set_permissions", "-p", name, user, ".*", ".*", ".*"]):
        subprocess.run(["rabbitmqctl", "-q", *words], check=True)
    things.callback(subprocess.run, ["rabbitmqctl", "-q", "delete_vhost", name], check=True)
    return f"{RABBITMQ}/{name}"


def _drop(name: str) -> None:
    import psycopg

    with psycopg.connect(POSTGRES, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
