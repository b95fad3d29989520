"""When a schedule's times come: every so many seconds, or by a cron expression in a time zone. Pure arithmetic."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from longwave.core.errors import InvalidInput, Problem

GRACE = timedelta(seconds=60)
"""How late a time may be kept and still not count as missed."""

SHORTEST = 1.0
"""Seconds. The beat looks once a second."""

LONGEST = 366 * 86400.0

MAX_CRON = 100
"""Characters of a cron expression that the table has room for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class CatchUp(StrEnum):
    """What becomes of times that passed while no beat ran."""

    SKIP = "skip"
    """Nothing, if they are more than a minute ago."""
    ONCE = "once"
    """One run for all of them."""
    ALL = "all"
    """A run for each."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, counted from 1970 in UTC: every 3600 is at the full hour, whenever the beat started."""

    seconds: float

    def next_after(self, at: datetime) -> datetime:
        """The first of its times later than `at`."""
        period = round(self.seconds * 1_000_000)
        passed = (at - _EPOCH) // _MICROSECOND
        return _EPOCH + (passed // period + 1) * period * _MICROSECOND

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Cron:
    """By five fields as cron has them, on the clocks of a time zone.

    Where clocks go forward, a fixed time that is left out comes right after; where they go back, it comes once.
    """

    expression: str
    timezone: str = "UTC"

    def next_after(self, at: datetime) -> datetime:
        """The first of its times later than `at`, in UTC. Raises CronSimError when none comes within 50 years."""
        for local in CronSim(self.expression, at.astimezone(ZoneInfo(self.timezone))):
            moment = local.astimezone(UTC)
            if moment > at:  # on the night when an hour comes twice, it first names the earlier one
                return moment
        raise CronSimError("never comes")

    def __str__(self) -> str:
        return f"{self.expression} ({self.timezone})"


Rhythm = Every | Cron


@dataclass(frozen=True, slots=True)
class Due:
    """The times to keep now, and the next one to wait for."""

    times: tuple[datetime, ...]
    next_at: datetime


def due(rhythm: Rhythm, next_at: datetime, now: datetime, *, catch_up: CatchUp, limit: int = 100) -> Due:
    """Which times are to be kept at `now`, when `next_at` is the first that was not.

    limit: how many at most; what is more is due again at once. With ONCE and SKIP it is one.
    """
    first = max(next_at, rhythm.next_after(now - GRACE)) if catch_up is CatchUp.SKIP else next_at
    if first > now:
        return Due((), first)
    if catch_up is not CatchUp.ALL:
        return Due((first,), rhythm.next_after(now))
    times = [first]
    while (following := rhythm.next_after(times[-1])) <= now and len(times) < limit:
        times.append(following)
    return Due(tuple(times), following)


def parse(*, every: float | None = None, cron: str = "", timezone: str = "") -> Rhythm:
    """The rhythm that was meant. Raises InvalidInput naming what is wrong."""
    if (every is None) == (not cron):
        remedy = "give one of the two: every, in seconds, or cron, as in '0 3 * * *'"
        raise InvalidInput(Problem("every, cron", every if every is not None else cron or None, remedy))
    if every is None:
        return _cron(cron, timezone or "UTC")
    if timezone:
        raise InvalidInput(Problem("timezone", timezone, "is for cron; an interval is the same everywhere"))
    return _every(every)


def _every(seconds: float) -> Every:
    if not SHORTEST <= seconds <= LONGEST:
        remedy = f"must be from {SHORTEST:g} to {LONGEST:.0f} seconds"
        raise InvalidInput(Problem("every", seconds, remedy))
    return Every(float(seconds))


def _cron(expression: str, timezone: str) -> Cron:
    problems: list[Problem] = []
    if not _is_zone(timezone):
        problems.append(Problem("timezone", timezone, "must be a name such as UTC or Europe/Berlin"))
    if len(expression) > MAX_CRON:
        remedy = (
            f"must have {MAX_CRON} characters at most: write */2 for every other one, and 8-18 for a range"
        )
        problems.append(Problem("cron", expression, remedy))
    elif len(expression.split()) != 5:
        problems.append(
            Problem("cron", expression, "must have five fields: minute, hour, day, month, weekday")
        )
    else:
        try:
            Cron(expression).next_after(_EPOCH)
        except CronSimError as error:
            problems.append(Problem("cron", expression, f"is no time that comes: {str(error).lower()}"))
    if problems:
        raise InvalidInput(*problems)
    return Cron(expression, timezone)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError):  # unknown, or a path: ZoneInfoNotFoundError is a KeyError
        return False
    except KeyError:
        return False
    return True
