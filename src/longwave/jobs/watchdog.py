"""Looks after a worker from within: whether it still hears the broker, and how large it is.

A consumer that has stopped consuming answers every ping. What it cannot hide is that jobs wait in its queues, that the
broker has their messages, that it has a place for them, and that none of them reaches it.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from django.db import connections

from longwave.jobs import broker, doorbells, memory

log = structlog.get_logger("longwave.jobs")

STUCK_AFTER = 60.0
"""Seconds without a message, while there were some for it, after which a consumer is taken for stuck."""

LOOK_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker at one look. silent: seconds since a message reached it. running: of its `places`.

    waiting: a queue of its own with jobs that have been ready for longer than `STUCK_AFTER` and messages for them.
    """

    silent: float
    running: int
    places: int
    waiting: str | None


def is_stuck(seen: Seen, patience: float) -> bool:
    """Whether what was seen can only be explained by a consumer that does not consume."""
    return seen.silent >= patience and seen.running < seen.places and seen.waiting is not None


class Watchdog:
    """Watches one worker, in a thread of its own, until it calls `restart` with the reason.

    queues: those that the worker listens to, asked for at each look. taken: how many of its places are, at this moment.
    max_memory: MB; 0 for what replaces itself.
    """

    def __init__(
        self,
        *,
        queues: Callable[[], Iterable[str]],
        places: int,
        taken: Callable[[], int],
        max_memory: int,
        restart: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queues = queues
        self._places = places
        self._taken = taken
        self._max_memory = max_memory
        self._restart = restart
        self._clock = clock
        self._born = self._last_message = clock()
        self._is_suspected = False

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="longwave-watchdog", daemon=True).start()

    def hear(self) -> None:
        """A message has reached the worker."""
        self._last_message = self._clock()

    def look(self) -> bool:
        """Look once; whether the worker has to begin anew, which is ordered then."""
        return self._look_at_memory() or self._look_at_consumer()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_EVERY)
            if self._look_safely():
                return

    def _look_safely(self) -> bool:
        """Nothing that a look or a restart raises ends the watch."""
        try:
            return self.look()
        except Exception as error:
            log.error("watchdog_failed", why=str(error), then="it looks again")
            return False

    def _look_at_memory(self) -> bool:
        used = memory.used_mb()
        if not memory.is_due(used, self._max_memory, self._clock() - self._born):
            return False
        log.warning("memory_limit_reached", used_mb=round(used), limit_mb=self._max_memory)
        self._restart("memory_limit_reached")
        return True

    def _look_at_consumer(self) -> bool:
        """Seen stuck twice in a row it is: once, it may be a machine that has slept, and works its backlog off now."""
        if self._clock() - self._last_message < STUCK_AFTER:
            self._is_suspected = False
            return False
        seen = self._see()
        was_suspected, self._is_suspected = (
            self._is_suspected,
            seen is not None and is_stuck(seen, STUCK_AFTER),
        )
        if seen is None or not (was_suspected and self._is_suspected):
            return False
        log.warning(
            "consumer_stuck",
            queue=seen.waiting,
            silent_for=round(seen.silent),
            running=seen.running,
            places=seen.places,
            then="running jobs may end, then this worker begins anew",
        )
        self._restart("consumer_stuck")
        return True

    def _see(self) -> Seen | None:
        """None while the database or the broker is away: there is nothing that could be heard."""
        try:
            waiting = _waiting_in(self._queues())
            return Seen(self._clock() - self._last_message, self._taken(), self._places, waiting)
        except Exception as error:
            log.debug("consumer_not_looked_at", why=str(error))
            return None
        finally:
            connections.close_all()


def _waiting_in(queues: Iterable[str]) -> str | None:
    """A queue of these with jobs that have been ready for long, and messages for them."""
    heard = set(queues)
    for queue in doorbells.queues_with_ready_jobs():
        if queue in heard and doorbells.rung_before(queue, STUCK_AFTER, 1) and broker.depth(queue) > 0:
            return queue
    return None
