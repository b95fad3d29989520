"""Ringing the broker for jobs that may run: ids only, never an error for whoever submitted them."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import structlog

from longwave.jobs import broker, doorbells
from longwave.jobs.doorbells import Bell

MAX_PER_MESSAGE = 50

SPREAD = 16
"""Messages that jobs rung for at once are spread over before two share one, so that all workers get some."""

log = structlog.get_logger("longwave.jobs")


def ring(name: str, queue: str, pairs: Sequence[tuple[int, int]], *, together: int | None = None) -> bool:
    """Ring for jobs of one name in one queue; False when the broker is away, and the sweeper will do it.

    together: how many share a message; unless given, as few as their number allows.
    """
    size = together or min(MAX_PER_MESSAGE, max(1, len(pairs) // SPREAD))
    messages = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    try:
        broker.publish(name, queue, messages)
    except broker.BrokerAway:
        _remember([job_id for job_id, _ in pairs])
        return False
    return True


def ring_all(bells: Iterable[Bell]) -> bool:
    """Ring for these jobs, grouped as messages allow; False when the broker went away on the way."""
    ordered = sorted(bells, key=lambda bell: (bell.queue, bell.name, bell.id))
    answers = [
        ring(name, queue, [(bell.id, bell.seq) for bell in group])
        for (queue, name), group in groupby(ordered, key=lambda bell: (bell.queue, bell.name))
    ]
    return all(answers)


def _remember(ids: list[int]) -> None:
    try:
        for start in range(0, len(ids), 1000):
            doorbells.mark_unrung(ids[start : start + 1000])
    except Exception as error:
        # They are rung as soon as the broker's queue is empty, a little later than with this mark.
        log.warning("unrung_not_noted", why=str(error))
