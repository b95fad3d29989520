"""The jobs of one message: claimed together, run one after another, written down together.

A job that took longer than a moment is written down at once, and those that a long one keeps waiting are handed on to
other workers. So what a kill -9 makes run again is a quarter of a second of jobs that took milliseconds each, and what
shares a message with a long job waits a twentieth of a second.
"""

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Any, TypeVar

import structlog
from django.db import connections

from longwave import database
from longwave.jobs import (
    declare,
    endings,
    heartbeat,
    hooks,
    job_context,
    leases,
    measures,
    ring,
    running,
    stop,
    waiting,
)
from longwave.jobs.declare import Again, AnyJob
from longwave.jobs.hooks import Outcome
from longwave.jobs.ledger import Claim
from longwave.jobs.measures import Ended, Ending

T = TypeVar("T")
log = structlog.get_logger("longwave.jobs")

PATIENCE = 0.25
"""Seconds for which successes may stay unwritten, and claimed jobs wait for the one that runs."""

LONG = 0.05
"""Seconds of one job after which those behind it are handed on: a quarter of a second of them would be too long."""

BRIEF = 0.01
"""Seconds of a job that are more than writing it down costs: its success is written at once."""


class Bundle:
    """Claimed jobs of one name and one owner. until: when their leases end, by job_context.now()."""

    def __init__(self, declared: AnyJob, claims: Sequence[Claim], until: float) -> None:
        self._declared = declared
        self._owner = claims[0].owner
        self._until = until
        self._waiting = deque(claims)
        self._leaving: list[Claim] = []  # on their way to other workers: never run here any more
        self._ended: deque[tuple[Claim, Any]] = deque()
        self._writing = Lock()
        self._began = job_context.now()
        self._wrote = self._began
        self._changed_job = self._began

    def run(self) -> None:
        """Run them all, or hand on what the worker's end or a long job leaves behind."""
        try:
            with heartbeat.beating(LONG, self._look_after):
                while (held := self._next()) is not None:
                    self._run(held)
        finally:
            database.persist(self._hand_on, give_up_after=endings.RECORD_PATIENCE)
            database.persist(self._write_down, give_up_after=endings.RECORD_PATIENCE)

    def _next(self) -> Claim | None:
        # Not on what is left of a lease: the first renewal would come too late.
        if stop.stopping() or job_context.now() >= self._until - self._declared.lease / 2:
            return None
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _run(self, held: Claim) -> None:
        began = self._changed_job = job_context.now()
        context = running.context_of(held, self._until)
        with heartbeat.renewing(context, self._declared.lease):
            outcome = running.call(self._declared, context, held)
            if self._is_special(outcome):
                endings.record(self._declared, held, outcome)
                return
            self._ended.append((held, outcome))
            if job_context.now() - began > BRIEF or context.saved is not None:
                database.persist(self._write_down, give_up_after=endings.RECORD_PATIENCE)

    def _is_special(self, outcome: Any) -> bool:
        """Whether it is no plain success, or somebody is to be told of it."""
        if isinstance(outcome, BaseException | Again) or declare.result_problem(outcome) is not None:
            return True
        return hooks.wants(self._declared.hooks, Outcome.SUCCESS)

    def _look_after(self) -> None:
        """Called again and again, in another thread than the jobs run in."""
        if self._writing.locked():
            return  # the jobs' own thread is at it; whoever waits here would keep other bundles waiting
        now = job_context.now()
        try:
            if now - self._changed_job >= LONG or now - self._began >= PATIENCE:
                self._hand_on()
            if now - self._wrote >= PATIENCE:
                self._write_down()
                self._wrote = now
        except Exception as error:
            # The database is away: the thread that runs the jobs writes down what is left, however long it takes.
            log.warning("bundle_waits", why=str(error))
            connections.close_all()

    def _hand_on(self) -> None:
        with self._writing:
            self._leaving += _drained(self._waiting)
            if not self._leaving:
                return
            # Tried again until it is known to have worked: perhaps it has, and the jobs run elsewhere already.
            bells, cancelled = leases.hand_on(self._owner, self._leaving)
            leaving, self._leaving = self._leaving, []
            ring.ring_all(bells)
            for held in leaving:
                if held.id in cancelled:
                    endings.cancelled(held)

    def _write_down(self) -> None:
        with self._writing:
            ended = _drained(self._ended)
            if ended:
                try:
                    lost = waiting.finish_many(self._owner, ended)
                except BaseException:
                    self._ended.extend(ended)
                    raise
                for job_id in lost:
                    # Its lease ran out meanwhile, and another worker decides what becomes of it.
                    log.warning("job_ended_too_late", job=job_id, job_name=self._declared.name)
                self._measure(ended, lost)

    def _measure(self, ended: Sequence[tuple[Claim, Any]], lost: set[int]) -> None:
        if measures.is_observed(Ended):
            for held, _ in ended:
                if held.id not in lost:
                    measures.tell(Ended(held.name, held.queue, Ending.SUCCESS))


def _drained(waiting: "deque[T]") -> "list[T]":
    """Everything in it, one by one: another thread uses it too."""
    found: list[T] = []
    while True:
        try:
            found.append(waiting.popleft())
        except IndexError:
            return found
