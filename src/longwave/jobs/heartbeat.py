"""The threads that renew the leases of the jobs running in this process, and do what else comes back while they run."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import structlog
from django.db import connections

from longwave.jobs import leases
from longwave.jobs.job_context import JobContext, now

log = structlog.get_logger("longwave.jobs")

RENEWALS_PER_LEASE = 3


IDLE = 10.0
"""Seconds that the thread waits for another job before it ends."""


SOON = 0.5
"""Seconds after which a lease is renewed that could not be, as somebody's transaction had the row."""

Act = Callable[[], float | None]
"""Does something; the seconds until it is to be done again, where those are not the usual ones."""


class _Beat:
    """Something to be done again and again while a block runs."""

    def __init__(self, every: float, act: Act) -> None:
        self.every = every
        self.act = act
        self.wait(every)

    def wait(self, seconds: float) -> None:
        self.due = now() + seconds


class _Heart:
    """One thread for all the beats of the process. It ends when there was none for a while."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beats: set[_Beat] = set()
        self._wakes = 0.0
        self._is_alive = False

    def add(self, beat: _Beat) -> None:
        with self._changed:
            if not self._is_alive:
                # It may be refused, where a machine has no room for another thread: then the next job tries again.
                threading.Thread(target=self._live, name="longwave-heartbeat", daemon=True).start()
                self._is_alive = True
            elif beat.due < self._wakes:
                self._changed.notify()
            self._beats.add(beat)

    def remove(self, beat: _Beat) -> None:
        with self._changed:
            self._beats.discard(beat)

    def _live(self) -> None:
        try:
            while self._wait():
                for beat in self._due():
                    _do(beat)
        finally:
            connections.close_all()

    def _wait(self) -> bool:
        """Until something is due, or may be; False when this thread is to end."""
        with self._changed:
            self._sleep(min((beat.due for beat in self._beats), default=now() + IDLE))
            self._is_alive = bool(self._beats)
            return self._is_alive

    def _sleep(self, until: float) -> None:
        self._wakes = until
        self._changed.wait(max(0.0, until - now()))
        self._wakes = 0.0

    def _due(self) -> list[_Beat]:
        with self._changed:
            due = [beat for beat in self._beats if beat.due <= now()]
            for beat in due:
                beat.wait(beat.every)
        return due


def _do(beat: _Beat) -> None:
    try:
        sooner = beat.act()
        if sooner is not None:
            beat.wait(sooner)
    except Exception:
        # The thread must live: no lease of this process would be renewed any more.
        log.exception("heartbeat_failed")


def _renew(context: JobContext, lease: float) -> float | None:
    asked = now()
    try:
        is_ours = leases.renew(context.id, context.seq, context.owner, lease)
        if is_ours is None:
            return min(SOON, lease / RENEWALS_PER_LEASE)
        if is_ours:
            context.hold_until(asked + lease)
        else:
            context.lose()
    except Exception as error:
        # The database is away. `lost()` turns true by itself when the lease has run out.
        log.warning("lease_not_renewed", job=context.id, why=str(error))
        connections.close_all()
    return None


_heart, _hands = _Heart(), _Heart()
"""Leases have a thread of their own: what may wait for a row that somebody has locked must not keep them waiting."""


def beating(every: float, act: Act) -> AbstractContextManager[None]:
    """Call `act` every so many seconds while the block runs, in a thread. It should not wait for long."""
    return _beating(_hands, _Beat(every, act))


@contextmanager
def _beating(heart: _Heart, beat: _Beat) -> Iterator[None]:
    heart.add(beat)
    try:
        yield
    finally:
        heart.remove(beat)


def renewing(context: JobContext, lease: float) -> AbstractContextManager[None]:
    """Keep the lease of this job while the block runs."""
    return _beating(_heart, _Beat(lease / RENEWALS_PER_LEASE, partial(_renew, context, lease)))


def _forget_after_fork() -> None:
    global _heart, _hands
    _heart, _hands = _Heart(), _Heart()


os.register_at_fork(after_in_child=_forget_after_fork)
