"""The beat: runs the chores in its own process. Not Celery's beat: the broker may be what broke."""

import os
import secrets
import socket
import time
from collections.abc import Callable

import structlog
from django.db import connections

from longwave import database
from longwave.core.alarm import Alarm
from longwave.jobs import beat_lease, chore_runs, chores, set_clock
from longwave.jobs.chore_runs import Run
from longwave.jobs.chores import Chore

log = structlog.get_logger("longwave.jobs")

LEASE = 5.0
"""Seconds after which another beat takes over from one that died."""

TICK = 1.0


def run(stop: Alarm, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Do the chores until `stop` is set, in turns with any other beat: one at a time holds the lease.

    A chore that takes longer than the lease lets another beat begin. Chores must be right then too; ours are,
    because every change is a guarded UPDATE.
    """
    beat = _Beat(stop, clock)
    while not stop.is_set():
        stop.wait(beat.turn())
    beat.leave()


class _Beat:
    """What one beat process remembers between its turns."""

    def __init__(self, stop: Alarm, clock: Callable[[], float]) -> None:
        self._stop = stop
        self._clock = clock
        self._owner = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._began = clock()
        self._due: dict[str, float] = {}
        self._runs: dict[str, Run] = {}
        self._write_at = float("-inf")
        self._held_until = float("-inf")
        self._is_leading: bool | None = None
        self._is_database_away = False

    def turn(self) -> float:
        """Do what is due; the seconds until something may be due again."""
        for chore in chores.registered():
            if self._stop.is_set():
                return 0.0
            if self._due.get(chore.name, self._began + chore.first_after) > self._clock():
                continue
            if not self._leads():
                return TICK
            self._do(chore)
            self._due[chore.name] = self._clock() + chore.every
        self._write_down()
        return max(0.01, min([TICK, *(due - self._clock() for due in self._due.values())]))

    def leave(self) -> None:
        """Hand the lease on."""
        self._write_at = float("-inf")
        self._write_down()
        try:
            beat_lease.release(self._owner)
        except Exception as error:
            log.warning("beat_lease_not_released", why=str(error))
        connections.close_all()

    def _leads(self) -> bool:
        """Whether the lease is ours. It is renewed when a second of it is gone."""
        if self._clock() < self._held_until - LEASE + TICK:
            return True
        asked = self._clock()
        try:
            leads = beat_lease.hold(self._owner, LEASE)
            led_by = None if leads else beat_lease.holder(LEASE)
            set_clock.watch.mend()  # also one that waits: it may have to take over from a lease that a clock ended
        except Exception as error:
            self._database_failed(error)
            return False
        self._database_answered()
        if leads and not self._is_leading:
            log.info("beat_leads")
        elif not leads and self._is_leading is not False:
            log.info("beat_waits", led_by=led_by)
        self._is_leading = leads
        self._held_until = asked + LEASE if leads else float("-inf")
        return leads

    def _do(self, chore: Chore) -> None:
        at, began, problem = self._clock(), time.perf_counter(), ""
        try:
            chore.function()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            if database.is_passing(error):
                self._database_failed(error)
            else:
                log.exception("chore_failed", chore=chore.name)
        self._runs[chore.name] = Run(at, (time.perf_counter() - began) * 1000, problem)

    def _write_down(self) -> None:
        """What was done since the last time, for `longwave schedule list`."""
        now = self._clock()
        if not self._runs or now < self._write_at:
            return
        self._write_at = now + chore_runs.WRITE_EVERY
        try:
            chore_runs.write(self._runs, now)
        except Exception as error:
            self._database_failed(error)
            return
        self._runs.clear()

    def _database_failed(self, error: Exception) -> None:
        connections.close_all()
        if not self._is_database_away:
            self._is_database_away = True
            log.warning("database_away", why=str(error))

    def _database_answered(self) -> None:
        if self._is_database_away:
            self._is_database_away = False
            log.info("database_back")
