"""What a Celery worker process does for the ledger: its tasks, its children, and how it stops."""

import logging
import os
import threading
import time
import warnings
from typing import Any

from celery import signals
from celery.apps import worker as celery_worker
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from django.db import connections

from longwave import config, logs
from longwave.celery import app
from longwave.jobs import coroutines, declare, rooms, runner, stop
from longwave.jobs.declare import AnyJob
from longwave.jobs.queues import is_redis

LOOK_EVERY = 0.5

CHATTY = ("celery.worker.strategy", "celery.app.trace")
"""Two lines a message. The ledger logs what becomes of jobs, and remembers it."""


def prepare() -> None:
    """Import every room's tasks and make each declared job a Celery task of the same name."""
    rooms.load()
    for declared in declare.declared():
        _as_task(declared)
    if is_redis(app.conf.broker_url):
        _outlive_a_lost_redis()


def start(queues: list[str], *, concurrency: int, pool: str, name: str, loglevel: str) -> int:
    """Run a worker in this process until it is told to stop; its exit code."""
    rooms.load()  # here first: Celery would show what is wrong with a module as a traceback of its own
    # Root is a danger with pickle, which this worker does not accept; containers often run as root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    for logger in CHATTY:
        logging.getLogger(logger).setLevel(logging.WARNING)
    worker = app.Worker(
        hostname=name,
        queues=queues,
        concurrency=concurrency,
        pool=pool,
        loglevel=loglevel,
        quiet=True,
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    # Celery calls it a failure when Ctrl-C was it that stopped the worker, though in good order.
    return 0 if _orders == ["Warm"] else int(worker.exitcode or 0)


def _as_task(declared: AnyJob) -> None:
    if declared.name in app.tasks:
        return

    def task(pairs: list[tuple[int, int]]) -> None:
        runner.perform(declared.name, pairs)

    app.task(task, name=declared.name, shared=False, lazy=False)


def _outlive_a_lost_redis() -> None:
    """Let a worker come back to a Redis that was away while jobs ran.

    Celery takes a lost connection apart and closes it afterwards; kombu then wants to give back through it what is not
    acknowledged, and to acknowledge a job that ends later. It finds no address to connect to, and its AttributeError
    ends the worker. What the broker does not learn, the ledger knows.
    """
    from kombu.transport.redis import Channel, QoS

    class PatientQoS(QoS):
        def ack(self, delivery_tag: str) -> None:
            if self._is_connected():
                super().ack(delivery_tag)  # type: ignore[no-untyped-call]

        def reject(self, delivery_tag: str, requeue: bool = False) -> None:
            if self._is_connected():
                super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

        def restore_unacked(self, client: Any = None) -> None:
            if self._is_connected():
                super().restore_unacked(client)  # type: ignore[no-untyped-call]

        def _is_connected(self) -> bool:
            connection = self.channel.connection
            return connection is not None and connection.client is not None

    Channel.QoS = PatientQoS


def _keep_our_logging(loglevel: int, **_: Any) -> None:
    """Celery sets up no logging of its own where this is connected: its lines come out like ours."""
    if not logging.getLogger().handlers:  # `celery -A longwave.celery worker`
        logs.configure("INFO", config.current().log_format)
    logging.getLogger().setLevel(loglevel)


def _keep_quiet(**_: Any) -> None:
    """Celery warns, whenever the broker is lost, of a setting that we have set."""
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


def _say(text: str, *_: Any) -> None:
    """What Celery says when it is told to stop: in our format too, on one line."""
    if text.strip():
        logs.say_at_once("celery.apps.worker", text.strip())


def _before_fork(**_: Any) -> None:
    """Children inherit what is open: it must not be a database connection."""
    runner.is_main(os.getpid())
    connections.close_all()


_orders: list[str] = []
"""How this worker was told to stop, each time: `Warm` lets jobs end, `Cold` does not."""


def _stopping(how: str = "", **_: Any) -> None:
    _orders.append(how)
    stop.request()


def _in_child(**_: Any) -> None:
    threading.Thread(target=_end_with_main, args=(os.getppid(),), name="main-watch", daemon=True).start()


def _process_ends(**_: Any) -> None:
    coroutines.close()
    connections.close_all()


def _end_with_main(main: int) -> None:
    """End with the worker's main process. Celery asks Linux for that; other systems need this."""
    while os.getppid() == main:
        time.sleep(LOOK_EVERY)
    os._exit(1)


signals.setup_logging.connect(_keep_our_logging, weak=False)
signals.celeryd_after_setup.connect(_keep_quiet, weak=False)
celery_worker.safe_say = _say
signals.worker_init.connect(_before_fork, weak=False)
signals.worker_shutting_down.connect(_stopping, weak=False)
signals.worker_process_init.connect(_in_child, weak=False)
signals.worker_process_shutdown.connect(_process_ends, weak=False)  # a child of the prefork pool
signals.worker_shutdown.connect(
    _process_ends, weak=False
)  # the main process, which the threads pool works in
