"""The libraries that people use today for the same job, each as its documentation sets it up, one after another.

All get as many worker processes, and as much concurrency in each. One that is not installed is left out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from broadcasting.stage import new_database, stop, until
from results import Broken

HERE = Path(__file__).parent
WAIT = 300.0
Measure = Callable[[int, bool, list[list[str]], ExitStack], float]


def measure(count: int, *, workers: int, concurrency: int, bulk: bool) -> dict[str, Any]:
    """Jobs a second of each peer, or why it could not be measured."""
    found: dict[str, Any] = {}
    for name, peer in (("celery", _celery), ("procrastinate", _procrastinate), ("bullmq", _bullmq)):
        with ExitStack() as things:
            try:
                found[name] = round(peer(count, workers, concurrency, bulk, things), 1)
            except (_Missing, Broken) as error:  # a peer that is too slow must not cost our own figure
                found[name] = str(error)
    return found


class _Missing(Exception):
    """Not installed here."""


def _celery(count: int, workers: int, concurrency: int, bulk: bool, things: ExitStack) -> float:
    """Nothing is durable but what the broker keeps; `bulk` is the same, as Celery has no other way."""
    socket = things.enter_context(_valkey())
    environment = {"PEER_BROKER": f"redis+socket://{socket}", "PEER_SOCKET": str(socket)}
    command = [sys.executable, "-m", "celery", "-A", "working.celery_peer", "worker", "--without-gossip"]
    for number in range(workers):
        name = ("-c", str(concurrency), "-n", f"peer{number}", "-l", "ERROR")
        _start([*command, *name], environment, things)
    os.environ.update(environment)
    from redis import Redis

    from working.celery_peer import nothing

    counter = Redis(unix_socket_path=str(socket))
    nothing.delay(-1)
    until(lambda: counter.get("peer:done"), 60, "Celery's workers do not start")
    time.sleep(2)  # the second one too
    counter.set("peer:done", 0)
    began = time.perf_counter()
    for number in range(count):
        nothing.delay(number)
    until(lambda: int(counter.get("peer:done")) >= count, WAIT, "Celery does not finish")  # type: ignore[arg-type]
    return count / (time.perf_counter() - began)


def _procrastinate(count: int, workers: int, concurrency: int, bulk: bool, things: ExitStack) -> float:
    if find_spec("procrastinate") is None:
        raise _Missing("not installed")
    url = new_database(things)
    environment = {"PEER_DATABASE": url}
    tool = [sys.executable, "-m", "procrastinate", "--app=working.procrastinate_peer.app"]
    subprocess.run([*tool, "schema", "--apply"], env=_with(environment), check=True, capture_output=True)
    for _ in range(workers):
        _start([*tool, "worker", "-q", "peer", "-c", str(concurrency)], environment, things)
    import psycopg
    from procrastinate import App, SyncPsycopgConnector

    app = App(connector=SyncPsycopgConnector(conninfo=url))
    task: Any = app.configure_task("peer.nothing", queue="peer")  # its own types know no generators
    ledger = things.enter_context(psycopg.connect(url, autocommit=True))

    def left() -> int:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'"
        return int(ledger.execute(query).fetchone()[0])  # type: ignore[index]

    with app.open():
        task.defer(number=-1)
        until(lambda: left() == 0, 60, "procrastinate's workers do not start")
        time.sleep(2)  # the second one too
        began = time.perf_counter()
        if bulk:
            task.batch_defer(*({"number": number} for number in range(count)))
        else:
            for number in range(count):
                task.defer(number=number)
        until(lambda: left() == 0, WAIT, "procrastinate does not finish", 0.1)
        return count / (time.perf_counter() - began)


def _bullmq(count: int, workers: int, concurrency: int, bulk: bool, things: ExitStack) -> float:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "bullmq").is_dir():
        raise _Missing("not installed")
    socket = things.enter_context(_valkey())
    script = [node, str(HERE / "bullmq_peer.mjs"), str(socket)]
    for _ in range(workers):
        _start([*script, "worker", str(concurrency)], {}, things)
    from redis import Redis

    broker = Redis(unix_socket_path=str(socket))

    def done() -> int:
        return int(broker.zcard("bull:peer:completed"))

    subprocess.run([*script, "single", "1"], check=True, capture_output=True)
    until(lambda: done() == 1, 60, "BullMQ's workers do not start")
    time.sleep(1)  # the second one too
    began = time.perf_counter()
    submitting = subprocess.Popen(
        [*script, "bulk" if bulk else "single", str(count)], stdout=subprocess.PIPE, text=True
    )
    until(lambda: done() > count, WAIT, "BullMQ does not finish")
    seconds = time.perf_counter() - began
    submitting.communicate()
    return count / seconds


# --- what they run on -------------------------------------------------------------------------------------------------


@contextmanager
def _valkey() -> Iterator[Path]:
    """A broker for one peer."""
    from longwave.ops import broker

    with tempfile.TemporaryDirectory(prefix="longwave-peer-") as folder, ExitStack() as things:
        socket = Path(folder) / "broker.sock"
        broker.prepare(socket)
        process = subprocess.Popen(
            broker.command(socket), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        things.callback(stop, process)
        until(lambda: broker.ping(socket), 20, "the broker does not answer")
        yield socket


def _with(environment: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | environment | {"PYTHONPATH": path}


def _start(command: list[str], environment: dict[str, str], things: ExitStack) -> None:
    process = subprocess.Popen(
        command,
        env=_with(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=HERE.parent,
    )
    things.callback(stop, process)
