"""Installations that send: processes, a database, a broker, and the fake Telegram that judges.

with stack("postgresql+redis", home) as running:
    campaign = running.broadcast(1000, rate=500)
    running.wait(campaign)
    running.verdict(campaign, 1000)
"""

import contextlib
import os
import random
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from longwave.campaigns import lifecycle, report
from longwave.campaigns.models import Batch, Campaign, Delivery
from longwave.jobs import runner
from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.verdict import Verdict, judge
from tests import databases
from tests.brokers import Broker, RabbitVhost, RedisServer
from tests.installations import EMBEDDED, LAST, Command, Installation, environment
from tests.waiting import until

STACKS = (EMBEDDED, "postgresql+redis", "mariadb+rabbitmq")
TOKEN = "1234567890:TEST-token-of-the-fake-telegram-server"
START: Command = (("campaign", "start", LAST, "--json"), "")
QUEUES = "campaigns,broadcast,email,notifications,default"


@dataclass
class Stack(Installation):
    """A running installation that sends, and the fake Telegram that it sends to."""

    telegram: FakeTelegram = field(kw_only=True)
    people: range = range(1, 1)
    """The chats of those who were imported last."""

    # --- campaigns ------------------------------------------------------------------------------------------------

    def broadcast(self, recipients: int, *options: str, rate: float = 0) -> int:
        """Add a sender, import so many contacts of its own, create and start a campaign to them; its id."""
        return self._made(*self._prepared(recipients, rate), self._created(*options), START)

    def draft(self, recipients: int, *options: str, rate: float = 0) -> int:
        """As `broadcast`, not started."""
        return self._made(*self._prepared(recipients, rate), self._created(*options))

    def prepare(self, recipients: int, rate: float = 0, **sender: str) -> None:
        """Add a sender, and contacts of its own."""
        self.run_all(*self._prepared(recipients, rate, **sender))

    def create(self, *options: str) -> int:
        """Another campaign of the latest sender to its contacts, not started; its id."""
        return self._made(self._created(*options))

    def launch(self, *options: str) -> int:
        """As `create`, and start it."""
        return self._made(self._created(*options), START)

    @property
    def name(self) -> str:
        """What the latest sender is called, and the list of its contacts."""
        return f"bot-{self.people.start}"

    def _prepared(self, recipients: int, rate: float, **sender: str) -> tuple[Command, Command]:
        path, first = self.home / "people.csv", self.people.stop
        self.people = range(first, first + recipients)
        path.write_text("chat_id,name\n" + "".join(f"{n},Person {n}\n" for n in self.people))
        more = [word for name, value in sender.items() for word in (f"--{name.replace('_', '-')}", value)]
        given = ["--token-stdin", "--rate", str(rate), "--base-url", self.telegram.base_url, *more]
        add = ("sender", "add", "telegram", "--name", self.name, *given, "--json")
        people = ("contacts", "import", str(path), "--channel", "telegram", "--list", self.name, "--json")
        return (add, f"{first}{TOKEN}"), (people, "")

    def _created(self, *options: str) -> Command:
        content = () if any(option in ("--text", "--content") for option in options) else ("--text", "Hello")
        whom = ("--sender", self.name, "--list", self.name)
        return ("campaign", "create", *whom, *content, *options, "--json"), ""

    def _made(self, *commands: Command) -> int:
        return int(self.run_all(*commands)["id"])

    def cancel_all(self) -> None:
        """Cancel every campaign that has not ended, and wait until nothing is under way."""
        with databases.pointed_at(self.url):
            found = Campaign.objects.filter(state__in=("preparing", "running", "paused"))
            campaigns = list(found.values_list("pk", flat=True))
        for campaign in campaigns:
            self.run("campaign", "cancel", str(campaign))
        until(self.has_handed_over, 15, self.logs)

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

    def verdict(self, campaign: int) -> Verdict:
        """The provider's log against who should have got it: the contacts that were imported last."""
        rows = self.run("campaign", "receipts", str(campaign)).stdout.splitlines()[1:]
        states = {int(row.split(",")[1]): row.split(",")[2] for row in rows}
        assert states.keys() == set(self.people)
        return judge(self.telegram, self.people, states)

    # --- processes --------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        name = f"w{uuid.uuid4().hex[:6]}"
        options = ("--queues", QUEUES, "--pool", "threads", "--concurrency", "8", "--name", name)
        self.workers.append(self.start("worker", *options))

    def worker_pids(self) -> list[int]:
        """The main processes of the workers that send."""
        if self.kind != EMBEDDED:
            return [worker.pid for worker in self.workers if worker.poll() is None]
        return [r.pid for r in self.children() if r.name.startswith("send-") and psutil.pid_exists(r.pid)]

    def kill_worker(self, dice: random.Random) -> set[int]:
        """kill -9 of a worker in the middle of sending, and a new one in its place, as a supervisor would.

        Gives the deliveries that were under way. It is stopped while the ledger is asked for them, so that they are
        what its death leaves.
        """
        pid = dice.choice(until(self.busy_pids, 30, self.logs))
        os.kill(pid, signal.SIGSTOP)
        doomed = self._under_way(pid)
        os.kill(pid, signal.SIGKILL)
        if self.kind != EMBEDDED:
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

    def start_again(self, workers: int = 2) -> None:
        """After `kill_everything`."""
        if self.broker is not None:
            self.broker.start()
        _start(self, workers)


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
            if kind != EMBEDDED:
                running.run("migrate")
            _start(running, workers)
            yield running
        except BaseException:
            print(running.logs())
            raise
        finally:
            running.kill_everything()


def _prepare(
    kind: str, home: Path, fake: FakeTelegram, things: contextlib.ExitStack, url: str | None
) -> Stack:
    if kind == EMBEDDED:
        url = f"sqlite:///{home / 'longwave.db'}"
        return Stack(kind, home, environment(home), url, telegram=fake)
    database, broker_kind = kind.split("+")
    if url is None:
        url = databases.fresh(database, f"longwave_stack_{uuid.uuid4().hex[:8]}")
        things.callback(databases.drop, url)
    own: Broker = RedisServer(home) if broker_kind == "redis" else RabbitVhost()
    told = environment(home, database_url=url, broker_url=own.url)
    return Stack(kind, home, told, url, broker=own, telegram=fake)


def _start(running: Stack, workers: int) -> None:
    if running.kind == EMBEDDED:
        running.others.append(running.start("up", "--no-web", "--senders", str(workers)))
        until(lambda: len(running.worker_pids()) == workers, 30, running.logs)
        return
    running.others.append(running.start("beat"))
    for _ in range(workers):
        running.start_worker()
