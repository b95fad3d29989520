"""A prefork pool with as many children as its worker needs: one more when none is free, fewer after a calm while.

The places of the worker stay as many as they are: it takes as many messages at a time, and forks for them.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.worker.autoscale import Autoscaler

log = structlog.get_logger("longwave.jobs")

CALM = 60.0
"""Seconds for which fewer children must have been enough before there are fewer."""

LOOK_EVERY = 1.0

LEAVE = signal.SIGUSR2
"""Sent to a child to which no job was handed: end. A child obeys it from its start on (`obey`)."""


class Need:
    """How many children were needed lately: the most jobs held at a time in this calm period and the one before."""

    def __init__(self, calm: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._calm = calm
        self._clock = clock
        self._since = clock()
        self._before = self._now = 0

    def note(self, jobs: int) -> None:
        """So many jobs are held at this moment."""
        self._turn()
        self._now = max(self._now, jobs)

    @property
    def lately(self) -> int:
        """The most that were held at a time, for one calm period at least and two at most."""
        self._turn()
        return max(self._before, self._now)

    def _turn(self) -> None:
        periods = int((self._clock() - self._since) / self._calm)
        if periods:
            self._before = self._now if periods == 1 else 0
            self._now = 0
            self._since += periods * self._calm


class Elastic(Autoscaler):  # type: ignore[misc]
    """Grows and shrinks the pool of one worker. Celery calls `maybe_scale` for each message before it is handed on."""

    def __init__(
        self, pool: Any, max_concurrency: int, min_concurrency: int, worker: Any, mutex: Any = None
    ) -> None:
        super().__init__(
            pool, max_concurrency, min_concurrency, worker=worker, keepalive=LOOK_EVERY, mutex=mutex
        )
        self._need = Need(CALM)

    def maybe_scale(self, req: Any = None) -> None:
        """As many children as there are jobs, at once; as few as were enough lately, one at a look."""
        self._need.note(self.qty)
        missing = min(self.qty, self.max_concurrency) - self.processes
        if missing > 0:
            self.pool.grow(missing)
            self.pool.maintain_pool()
            log.debug("pool_grown", processes=self.processes)
        elif self.processes > max(self._need.lately, self.min_concurrency) and self._let_one_go():
            log.debug("pool_shrunk", processes=self.processes)

    def _let_one_go(self) -> bool:
        """End a child that has no job. False when there is none.

        Celery's own way goes by which jobs children have said they began, and that word may still be on its way: the
        job would be taken for one that kills its worker. This goes by which children were handed one, and runs where
        that is done, so nothing can come between.
        """
        pool = self.pool._pool
        idle = pool._all_inqueues - pool._busy_workers - pool._active_writes
        child = next((one for one in pool._pool if one.inqW_fd in idle), None)
        if child is None:
            return False
        pool._all_inqueues.discard(child.inqW_fd)
        self.worker.hub.remove_writer(child.inqW_fd)
        pool._processes -= 1
        pool._putlock.shrink()
        child._controlled_termination = True
        try:
            os.kill(child.pid, LEAVE)
        except ProcessLookupError:
            pass  # it has just ended by itself
        return True


def obey() -> None:
    """In a child: end when it is told to."""
    signal.signal(LEAVE, _leave)


def _leave(*_: Any) -> None:
    raise SystemExit(0)
