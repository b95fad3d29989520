"""When a campaign stops itself. Values in, verdict out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

WINDOW = 100
"""The failure rate is taken over at least this many of the latest outcomes."""

OPENING_ERRORS = 5
"""So many equal refusals, and nothing else, at the very start condemn the content."""


SILENCE = 25.0
"""Seconds without any answer but faults after which a campaign waits for a person. Longer than the ten after which a
fault is tried again: one blip has been proven past by then."""

SILENT_SENDS = 20
"""So many faults, and nothing else, make a silence once something was sent; before that, OPENING_ERRORS do."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of one stretch of time. Blocked and vanished contacts are in neither number."""

    failures: int
    total: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one stretch of time, beginning at unix time `at`, tells of the provider.

    faults: requests that met a passing fault, or were never answered. answers: all others, refusals among them.
    """

    at: float
    faults: int
    answers: int


def failure_rate(newest_first: Iterable[Tally], window: int = WINDOW) -> float | None:
    """Failures over the latest `window` or more outcomes, in 0…1; None while there are fewer.

    Stretches are taken whole, so the window is at least `window` wide, and wider where one stretch is.
    """
    failures = total = 0
    for tally in newest_first:
        failures += tally.failures
        total += tally.total
        if total >= window:
            return failures / total
    return None


def verdict(newest_first: Iterable[Tally], limit: float) -> float | None:
    """The failure rate, when it is above `limit` and the campaign must pause; else None."""
    rate = failure_rate(newest_first)
    return rate if rate is not None and rate > limit else None


def condemned_at_opening(sent: int, refusals: Mapping[str, int]) -> str | None:
    """The refusal that every first send met, once OPENING_ERRORS have met it and none has succeeded."""
    if sent or len(refusals) != 1:
        return None
    text, count = next(iter(refusals.items()))
    return text if count >= OPENING_ERRORS else None


def silent_for(newest_first: Iterable[Stretch], now: float, *, is_proven: bool) -> float | None:
    """Seconds for which nothing came but faults, when that is a silence; else None.

    Faults of one stretch alone are a blip, however long ago: they have to come again in another one.
    """
    silent = list(takewhile(lambda stretch: not stretch.answers, newest_first))
    faulty = [stretch for stretch in silent if stretch.faults]
    needed = SILENT_SENDS if is_proven else OPENING_ERRORS
    if len(faulty) < 2 or sum(stretch.faults for stretch in faulty) < needed:
        return None
    seconds = now - faulty[-1].at
    return seconds if seconds >= SILENCE else None
