"""What a Celery worker process does for the ledger: its tasks, its children, and how it stops."""

import logging
import os
import signal
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any

import structlog
from billiard import util as billiard_log
from celery import signals
from celery.apps import worker as celery_worker
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.platforms import EX_FAILURE
from celery.worker import state
from django.db import connections

from longwave import config, logs
from longwave.celery import app
from longwave.jobs import (
    children,
    consuming,
    coroutines,
    declare,
    elastic,
    leaving,
    memory,
    ringer,
    rooms,
    runner,
    stop,
)
from longwave.jobs.declare import AnyJob
from longwave.jobs.leaving import HandOver, Leaving, Return
from longwave.jobs.queues import is_redis
from longwave.jobs.watchdog import Watchdog

log = structlog.get_logger("longwave.jobs")

LOOK_EVERY = 0.5

CHATTY = ("celery.worker.strategy", "celery.app.trace")
"""Two lines a message. The ledger logs what becomes of jobs, and remembers it."""


def prepare() -> None:
    """Import every room's tasks and make each declared job a Celery task of the same name."""
    rooms.load()
    for declared in declare.declared():
        _as_task(declared)
    consuming.say_outages_once()
    billiard_log.get_logger()  # which cuts it off from ours
    logging.getLogger(billiard_log.LOGGER_NAME).propagate = True
    if is_redis(app.conf.broker_url):
        _outlive_a_lost_redis()


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker works on, and how. concurrency: jobs at a time.

    least: children of prefork that stay when there is nothing to do; None: all of them.
    grace: seconds that running jobs have when it is told to stop. max_memory: MB beyond which the process that runs
    jobs is replaced; 0: never.
    """

    queues: list[str]
    pool: str
    concurrency: int
    least: int | None = None
    grace: float = stop.GRACE
    max_memory: int = memory.DEFAULT


def start(work: Work, *, name: str, loglevel: str, hand_over: HandOver) -> int:
    """Run a worker in this process until it is told to stop; its exit code."""
    rooms.load()  # here first: Celery would show what is wrong with a module as a traceback of its own
    if (back := leaving.came_back()) is not None:
        _take_over(back, hand_over)
    # Root is a danger with pickle, which this worker does not accept; containers often run as root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    for logger in CHATTY:
        logging.getLogger(logger).setLevel(logging.WARNING)
    end = Leaving(work.grace)
    lost = children.LostWork(hand_over, lambda: end.is_decided)
    worker = _worker(work, end, lost, name, loglevel)
    _watch(work, end)
    worker.start()
    lost.free()
    return end.end()


def _take_over(back: Return, hand_over: HandOver) -> None:
    """Free what this process held when it began anew."""
    log.warning("worker_restarted", why=back.why)
    leaving.hand_over_safely(hand_over, back.left, is_crash=back.had_patience)


def _worker(work: Work, end: Leaving, lost: children.LostWork, name: str, loglevel: str) -> Any:
    class Worker(app.Worker):  # type: ignore[misc, name-defined]
        """Celery's, told by us when to end."""

        def install_platform_tweaks(self, worker: Any) -> None:
            super().install_platform_tweaks(worker)
            end.obey_signals()

        def stop(self, in_sighandler: bool = False, exitcode: Any = None) -> None:
            if not end.is_ordered:  # by remote control, or for an error: running jobs have no longer either
                end.stop(EX_FAILURE if exitcode == EX_FAILURE else 0)
            super().stop(in_sighandler, exitcode)

    return Worker(
        hostname=name,
        queues=work.queues,
        concurrency=work.concurrency,
        autoscale=None if work.least is None else (work.concurrency, work.least),
        autoscaler_cls=elastic.Elastic,
        pool=children.pool(lost) if work.pool == "prefork" else work.pool,
        loglevel=loglevel,
        quiet=True,
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        max_memory_per_child=work.max_memory * 1024 or None,
    )


def _watch(work: Work, end: Leaving) -> None:
    global _memory_limit
    _memory_limit = work.max_memory
    dog = Watchdog(
        queues=lambda: list(app.amqp.queues.consume_from),
        places=work.concurrency,
        taken=lambda: len(state.active_requests),
        max_memory=0 if work.pool == "prefork" else work.max_memory,
        restart=end.restart,
    )
    signals.task_received.connect(lambda **_: dog.hear(), weak=False)
    dog.start()


def _as_task(declared: AnyJob) -> None:
    if declared.name in app.tasks:
        return

    def task(pairs: list[tuple[int, int]]) -> None:
        _be_deaf_to_sigterm()
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
        current = config.current()
        logs.configure("INFO", current.log_format)
        logs.keep(current.log_dir, "worker", current.log_format)
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


_memory_limit = 0
_is_child = False
_heard_before: Any = None
"""What a child did on SIGTERM before it became deaf to it."""


def _stopping(**_: Any) -> None:
    stop.request()


def _in_child(**_: Any) -> None:
    global _is_child
    _is_child = True
    elastic.obey()
    threading.Thread(target=_end_with_main, args=(os.getppid(),), name="main-watch", daemon=True).start()


def _be_deaf_to_sigterm() -> None:
    """In a child: what stops the worker reaches all its processes under systemd, and the main one decides when.

    Not before its first message: until then Celery sets handlers of its own.
    """
    global _heard_before
    if _is_child and _heard_before is None:
        _heard_before = signal.signal(signal.SIGTERM, _unless_stopping_end)


def _unless_stopping_end(*_: Any) -> None:
    deadline = time.monotonic() + LOOK_EVERY
    while not stop.stopping():
        if time.monotonic() > deadline:  # it was meant for this child alone
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def _child_ends(**_: Any) -> None:
    if _heard_before is not None:
        signal.signal(signal.SIGTERM, _heard_before)  # it has said goodbye, and is sent away with it
    if 0 < _memory_limit < (peak := memory.peak_mb()):
        log.warning("child_replaced", why="memory_limit_reached", peak_mb=round(peak), limit_mb=_memory_limit)
    _process_ends()


def _process_ends(**_: Any) -> None:
    ringer.flush()
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
signals.worker_process_shutdown.connect(_child_ends, weak=False)  # a child of the prefork pool
signals.worker_shutdown.connect(
    _process_ends, weak=False
)  # the main process, which the threads pool works in
