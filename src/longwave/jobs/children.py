"""The children of a prefork worker: who dies is replaced at once, and what it held is free at once.

Only the main process knows at once that a child is dead. But it works for all the others: it must neither wait for a
database nor have one open while it forks. So the child that is forked next, for the dead one, frees what that held.
"""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from billiard.pool import EX_OK, EX_RECYCLE
from celery import signals
from celery.concurrency import prefork
from django.db import connections

from longwave.jobs import leaving, runner
from longwave.jobs.leaving import HandOver

LOOK_EVERY = 0.5
"""Seconds. Celery hears of a death at once, but often before the system owns up to it: then the next look sees it."""

AGAIN_AFTER = 1.0
"""Seconds after which a child frees once more: the database may have been at the last statement of the dead one."""

ORDERLY = (EX_OK, EX_RECYCLE)
"""How a child ends that holds nothing: told to stop, or replaced after so many messages or for its memory."""


class LostWork:
    """What children held that died. hand_over: frees it. is_over: says whether the worker itself kills its children."""

    def __init__(self, hand_over: HandOver, is_over: Callable[[], bool]) -> None:
        self._hand_over = hand_over
        self._is_over = is_over
        self._left: list[str] = []
        self._inherited: list[str] = []

    def add(self, prefix: str) -> None:
        """In the main process: a child has died, and this is how the owners begin of what it held."""
        if not self._is_over():
            self._left.append(prefix)

    def bequeath(self) -> None:
        """In the main process: the next child is forked now, and frees what was left until here."""
        self._inherited, self._left = self._left, []

    def take_up(self, **_: Any) -> None:
        """In a child that begins: free, in a thread, what it was bequeathed."""
        if self._inherited:
            threading.Thread(target=self._free_twice, name="longwave-lost-work", daemon=True).start()

    def free(self) -> None:
        """In a worker that has stopped: free what no child was forked for any more."""
        self._free(self._left)

    def _free_twice(self) -> None:
        self._free(self._inherited)
        time.sleep(AGAIN_AFTER)
        self._free(self._inherited)

    def _free(self, prefixes: list[str]) -> None:
        for prefix in prefixes:
            leaving.hand_over_safely(self._hand_over, prefix, is_crash=True)
        connections.close_all()


def pool(lost: LostWork) -> Any:
    """Celery's prefork pool, which says what is lost when a child dies, and looks more often who has."""

    class Processes(prefork.TaskPool.Pool):  # type: ignore[misc]
        """Celery's, with an ear for deaths."""

        on_process_down: Callable[[Any], None]
        is_broken = False

        @property
        def timers(self) -> dict[Callable[[], None], float]:
            return {self.maintain_pool: LOOK_EVERY}

        def WorkerProcess(self, worker: Any) -> Any:  # noqa: N802 - Celery's name
            process = super().WorkerProcess(worker)
            process.owns = runner.next_child()
            lost.bequeath()
            return process

        def register_with_event_loop(self, hub: Any) -> None:
            super().register_with_event_loop(hub)
            clean_up = self.on_process_down  # made anew whenever the worker connects to the broker

            def on_process_down(process: Any) -> None:
                clean_up(process)
                self._see(process)

            self.on_process_down = on_process_down

        def _see(self, process: Any) -> None:
            if process.exitcode not in ORDERLY:
                self.is_broken |= process.exitcode != -signal.SIGKILL
                lost.add(process.owns)

        def did_start_ok(self) -> bool:
            """Not when children end by themselves as they start. One that was killed is replaced, as it is later."""
            return super().did_start_ok() or not self.is_broken

    class Pool(prefork.TaskPool):  # type: ignore[misc]
        """Celery's, of these processes."""

        Pool = Processes

    signals.worker_process_init.connect(lost.take_up, weak=False)
    return Pool
