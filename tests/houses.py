"""Installations that run jobs of the tests' own, which tell an outside witness what they do.

with house("postgresql+rabbitmq", home, modules="tests.room") as running:
    running.submit("room.work.submit(number=1)")
    running.beat()
    running.worker("--concurrency", "2")
    running.witness.records()
"""

import contextlib
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from longwave.jobs.models import ACTIVE, BeatLease, Job, Status
from tests import databases, waiting, witness
from tests.brokers import Broker, EmbeddedServer, RabbitVhost, RedisServer, free_port
from tests.installations import EMBEDDED, Installation, environment
from tests.witness import Witness

Process = subprocess.Popen[bytes]
SENDING, GENERAL = "campaigns,broadcast,email", "default,notifications"


@dataclass
class House(Installation):
    """Processes that run jobs. The test's default connection points at their database."""

    witness: Witness = field(kw_only=True)
    posts: dict[str, Process] = field(default_factory=dict)
    _commands: dict[str, tuple[str, ...]] = field(default_factory=dict)

    # --- what has a name, and is replaced when it dies: by `longwave up`, or by the test as by a supervisor -----------

    def man(self, name: str, *words: str) -> None:
        """Start a process that `kill` replaces."""
        self._commands[name] = words
        self.posts[name] = self.start(*words)
        self.others.append(self.posts[name])

    def pid(self, name: str) -> int:
        """The main process that has this name now; 0 when there is none."""
        return self.posts[name].pid if name in self.posts else self.child(name)

    def kill(self, name: str) -> None:
        """kill -9 of a main process, and another in its place. The witness is told who died of it."""
        dead = psutil.Process(self.pid(name))
        dead.suspend()  # so that it forks no more
        self._kill(dead, *dead.children(recursive=True))
        if name not in self.posts:
            self.until(lambda: self.child(name) not in (0, dead.pid), 20)
            return
        self.posts[name].wait()
        self._replace_dead()

    def _replace_dead(self) -> None:
        """As a supervisor does."""
        for name, process in list(self.posts.items()):
            if process.poll() is not None:
                self.others.remove(process)
                self.man(name, *self._commands[name])

    def kill_child(self, name: str, dice: random.Random) -> None:
        """kill -9 of one of the processes that the worker of this name has forked."""
        children = self.until(lambda: psutil.Process(self.pid(name)).children(), 20)
        self._kill(dice.choice(children))

    def kill_process(self, pid: int) -> None:
        """kill -9 of a process of the house."""
        self._kill(psutil.Process(pid))

    def _kill(self, first: psutil.Process, *family: psutil.Process) -> None:
        """The first is killed, and its family ends with it: nobody works or listens on behind its back."""
        first.kill()
        waiting.until(
            lambda: not any(lives(one) for one in (first, *family)), 10, lambda: f"{family} live on"
        )
        self.witness.tell(what="killed", pids=[first.pid, *(process.pid for process in family)])

    def leading_beat(self) -> str:
        """The name of the beat that does the chores."""
        names = [name for name in (*self.posts, "beat") if name.startswith("beat")]
        return str(self.until(lambda: next((n for n in names if self._leads(n)), None), 20))

    def _leads(self, name: str) -> bool:
        leader = BeatLease.objects.values_list("owner", flat=True).first() or "::"
        return leader.split(":")[1] == str(self.pid(name))

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def worker(self, *options: str, **environ: str) -> Process:
        """Start a worker of everything, or as the options say."""
        self.workers.append(self.start("worker", *options, **environ))
        return self.workers[-1]

    def ready_worker(self, *options: str, **environ: str) -> Process:
        """Start one, and wait until it has said that it is ready."""
        ready = self.events("ready.")
        worker = self.worker(*options, **environ)
        self.until(lambda: self.events("ready.") > ready, 30)
        return worker

    def beat(self) -> Process:
        """Start a beat: two of them take turns."""
        self.others.append(self.start("beat"))
        return self.others[-1]

    def submit(self, code: str) -> str:
        """Run `code`, which submits jobs, in a process of the house; what it printed."""
        return self._python("import longwave; longwave.setup(); from tests import room\n" + code)

    def evaluate(self, what: str) -> Any:
        """What an expression about the installation says in a process of the house."""
        head = "import json, longwave; longwave.setup(); from dataclasses import asdict;"
        return json.loads(
            self._python(
                f"{head} from longwave.jobs import presence; print(json.dumps({what}, default=asdict))"
            )
        )

    def _python(self, code: str) -> str:
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until(self, what: Callable[[], Any], seconds: float = 40.0) -> Any:
        """Wait, and tell what stands in the ledger when it was in vain."""

        def look() -> Any:
            self._replace_dead()
            return what()

        return waiting.until(look, seconds, self.story)

    def story(self) -> str:
        """What became of the jobs, and what every process said last."""
        counts = Counter(Job.objects.values_list("name", "status"))
        waiting = Job.objects.filter(status__in=ACTIVE).order_by("pk")
        rows = waiting.values_list("pk", "name", "status", "started_at", "run_at", "rung_at", "lease_until")
        return f"{counts}\n{list(rows[:20])}\n{self.logs()[-8000:]}"

    def stop(self) -> None:
        """Stop all in good order, and supervise nothing any more."""
        self.posts.clear()
        super().stop()

    def end(self) -> None:
        """kill -9 of every process of the house, its broker too."""
        self.kill_everything()


@contextlib.contextmanager
def manned(kind: str, home: Path, **options: Any) -> Iterator[House]:
    """A house with three workers, two beats and a web process, embedded under `longwave up`. options: of `house`."""
    is_up = kind == EMBEDDED
    with house(kind, home, is_up=is_up, **options) as running:
        if is_up:
            running.others.append(running.start("up", "--workers", "2"))
        else:
            running.man("web", "web")
            running.man("beat", "beat")
            running.man("general-1", "worker", "--queues", GENERAL)
            running.man("general-2", "worker", "--queues", GENERAL)
            running.man("send-1", "worker", "--queues", SENDING, "--pool", "threads", "--concurrency", "8")
        running.man("beat-2", "beat")
        running.until(running.is_healthy)
        yield running


@contextlib.contextmanager
def house(
    kind: str,
    home: Path,
    *,
    modules: str = "tests.room",
    url: str | None = None,
    is_up: bool = False,
    more: Mapping[str, str] | None = None,
) -> Iterator[House]:
    """An empty house on a migrated database.

    url: a database of the test's own, instead of one on the machine's server. is_up: `longwave up` will bring the
    embedded broker. more: what else its processes have in their environment.
    """
    database, broker_kind = kind.split("+")
    with contextlib.ExitStack() as things:
        used = things.enter_context(databases.empty(database) if url is None else databases.at(url))
        told = things.enter_context(witness.standing())
        broker = None if is_up else _broker(broker_kind, home)
        address = broker.url if broker else None
        settings = {"database_url": used, "broker_url": address, "modules": modules}
        surroundings = (
            environment(home, port=str(free_port()), **settings) | told.environment | dict(more or {})
        )
        running = House(kind, home, surroundings, used, broker=broker, witness=told)
        things.callback(running.end)
        yield running


def count(status: Status) -> int:
    """How many jobs stand there."""
    return Job.objects.filter(status=status).count()


def children_of(process: Process) -> list[psutil.Process]:
    """The processes that a worker has forked."""
    return psutil.Process(process.pid).children()


def lives(process: psutil.Process) -> bool:
    """Whether it is there and no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _broker(kind: str, home: Path) -> Broker:
    if kind == "embedded":
        return EmbeddedServer(home)
    return RedisServer(home) if kind == "redis" else RabbitVhost()
