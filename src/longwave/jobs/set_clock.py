"""A database's clock that is set, by somebody or by a time service: noticed, and what that would upset is mended.

Leases and bells are dated by the database's clock, the only one that all machines share. Set ahead by an hour, it would
make every lease run out at once, though the workers live; set back, it would leave an hour in the future what was
written down before: nobody would miss a dead worker for that long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.db.models import QuerySet
from django.db.models.functions import Now

from longwave import database
from longwave.jobs import declare, job_context, retrying
from longwave.jobs.models import Job, Status

log = structlog.get_logger("longwave.jobs")

TOLERANCE = 1.0
"""Seconds. A smaller step does no harm that leases do not allow for."""

PRECISE = 0.5
"""Seconds that asking may take. An answer that took longer says too little."""

UNSURE = 10
"""Answers in a row that may say too little before what ran out is no longer put down to the clock."""

USUAL_LEASE = 30.0
"""Seconds, for jobs whose code is not known here."""


Mender = Callable[[], int]
_menders: list[Mender] = []


@dataclass(frozen=True, slots=True)
class Look:
    """What the database's clock said, and a clock that nobody sets before and after it was asked. In seconds."""

    before: float
    said: float
    after: float


def step(last: Look, this: Look) -> float:
    """Seconds that the database's clock was set ahead between two looks; negative: back; 0 when that is not sure."""
    least = (this.said - this.after) - (last.said - last.before)
    most = (this.said - this.before) - (last.said - last.after)
    if least > TOLERANCE:
        return least
    return most if most < -TOLERANCE else 0.0


class Watch:
    """What one beat process remembers of the clock. `look` takes a look: at the database's clock, unless given."""

    def __init__(self, look: Callable[[], Look] | None = None) -> None:
        self._look = look or _look
        self._last: Look | None = None
        self._unsure = 0

    def mend(self) -> bool:
        """Look at the clock, and mend what is upset when it was set.

        True: it was set ahead, or perhaps was; what has run out now may belong to the living.
        """
        this, last = self._look(), self._last
        if this.after - this.before > PRECISE:
            self._unsure += 1
            return self._unsure <= UNSURE
        self._last, self._unsure = this, 0
        seconds = step(last, this) if last else 0.0
        if seconds:
            log.warning("clock_was_set", seconds=round(seconds, 1))
        if seconds > 0:
            prolong_leases()
        elif seconds < 0 or last is None:  # what came before this process it does not know
            take_back_from_the_future()
        return seconds > 0


def prolong_leases() -> int:
    """Give every running job whose lease ran out another one: its worker renews it, or it runs out again."""
    expired = Job.objects.filter(status=Status.RUNNING, lease_until__lt=Now())
    leases = {name: _lease_of(name) or USUAL_LEASE for name in _names(expired)}
    return sum(_lease_anew(expired, name, lease) for name, lease in leases.items())


def take_back_from_the_future() -> int:
    """Bring nearer what only a clock that was ahead can have dated: leases, bells, and pauses before the next try."""
    own = (_leases_from_the_future, _starts_from_the_future, _long_pauses, _bells_from_the_future)
    return sum(mend() for mend in (*own, *_menders))


def mends_the_future(function: Mender) -> Mender:
    """Register what does the same for rows of another room; it says for how many."""
    _menders.append(function)
    return function


def _leases_from_the_future() -> int:
    running, mended = Job.objects.filter(status=Status.RUNNING), 0
    for name in _names(running):
        lease = _lease_of(name)
        if lease is not None:
            mended += _lease_anew(running.filter(lease_until__gt=from_now(lease + TOLERANCE)), name, lease)
    return mended


def _starts_from_the_future() -> int:
    """Jobs that wait for their next turn since then: from now on, for as long as they were to wait."""
    waiting, mended = Job.objects.filter(status=Status.RETRY, started_at__gt=from_now(TOLERANCE)), 0
    for row in waiting:
        if row.started_at and row.run_at:
            pause = row.run_at - row.started_at
            same = waiting.filter(pk=row.pk, seq=row.seq)
            mended += same.update(run_at=Now() + pause, started_at=Now())
    return mended


def _long_pauses() -> int:
    """Those that began before the clock was set ahead, and failed after."""
    failed, mended = Job.objects.filter(status=Status.RETRY, failures__gt=0), 0
    for name in _names(failed):
        declared = declare.get(name)
        if declared is not None:
            longest = max(declared.backoff, default=0.0) * (1 + retrying.JITTER)
            late = failed.filter(name=name, run_at__gt=from_now(longest + TOLERANCE))
            mended += late.update(run_at=from_now(longest))
    return mended


def _bells_from_the_future() -> int:
    rung = Job.objects.filter(status=Status.QUEUED, rung_at__gt=from_now(TOLERANCE))
    return rung.update(rung_at=Now())


def _lease_anew(jobs: QuerySet[Job], name: str, lease: float) -> int:
    return jobs.filter(name=name).update(lease_until=from_now(lease))


def _lease_of(name: str) -> float | None:
    declared = declare.get(name)
    return None if declared is None else declared.lease


def _names(jobs: QuerySet[Job]) -> list[str]:
    return list(jobs.order_by().values_list("name", flat=True).distinct())


def from_now(seconds: float) -> Any:
    """That many seconds ahead, by the database's clock."""
    return Now() + timedelta(seconds=seconds)


def _look() -> Look:
    before = job_context.now()
    said = database.clock_us() / 1_000_000
    return Look(before, said, job_context.now())


watch = Watch()
"""This process'. There is one beat in it."""
