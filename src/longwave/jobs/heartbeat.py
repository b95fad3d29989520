"""The thread that renews the leases of the jobs running in this process."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.db import connections

from longwave.jobs import ledger
from longwave.jobs.job_context import JobContext, now

log = structlog.get_logger("longwave.jobs")

RENEWALS_PER_LEASE = 3


class _Beat:
    """When the lease of a job is renewed next."""

    def __init__(self, context: JobContext, lease: float) -> None:
        self.context = context
        self.lease = lease
        self.wait()

    def wait(self) -> None:
        self.due = now() + self.lease / RENEWALS_PER_LEASE


class _Heart:
    """Renews each lease when a third of it is gone. Its thread ends when it finds nothing running."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[JobContext, _Beat] = {}
        self._is_alive = False

    def add(self, context: JobContext, lease: float) -> None:
        with self._changed:
            self._running[context] = _Beat(context, lease)
            if not self._is_alive:
                self._is_alive = True
                threading.Thread(target=self._live, name="longwave-heartbeat", daemon=True).start()
            self._changed.notify()

    def remove(self, context: JobContext) -> None:
        with self._changed:
            self._running.pop(context, None)

    def _live(self) -> None:
        try:
            while self._wait():
                for beat in self._due():
                    _renew(beat.context, beat.lease)
        finally:
            connections.close_all()

    def _wait(self) -> bool:
        """Until a lease wants renewing, or a job with a shorter one came; False when this thread is to end."""
        with self._changed:
            if self._running:
                self._changed.wait(max(0.0, min(beat.due for beat in self._running.values()) - now()))
            self._is_alive = bool(self._running)
            return self._is_alive

    def _due(self) -> list[_Beat]:
        with self._changed:
            due = [beat for beat in self._running.values() if beat.due <= now()]
            for beat in due:
                beat.wait()
        return due


def _renew(context: JobContext, lease: float) -> None:
    asked = now()
    try:
        if ledger.renew(context.id, context.seq, context.owner, lease):
            context.hold_until(asked + lease)
        else:
            context.lose()
    except Exception as error:
        # The database is away. `lost()` turns true by itself when the lease has run out.
        log.warning("lease_not_renewed", job=context.id, why=str(error))
        connections.close_all()


_heart = _Heart()


@contextmanager
def renewing(context: JobContext, lease: float) -> Iterator[None]:
    """Keep the lease of this job while the block runs."""
    heart = _heart
    heart.add(context, lease)
    try:
        yield
    finally:
        heart.remove(context)


def _forget_after_fork() -> None:
    global _heart
    _heart = _Heart()


os.register_at_fork(after_in_child=_forget_after_fork)
