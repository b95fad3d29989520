"""When a campaign stops itself. Values in, verdict out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WINDOW = 100
"""The failure rate is taken over at least this many of the latest outcomes."""

OPENING_ERRORS = 5
"""So many equal refusals, and nothing else, at the very start condemn the content."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of one stretch of time. Blocked and vanished contacts are in neither number."""

    failures: int
    total: int


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
