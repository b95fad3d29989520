"""Queues that stand still: nothing of them is begun, what runs goes on, and submitting works as always."""

from datetime import datetime

from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import doorbells, queues, ring
from longwave.jobs.models import PausedQueue

CHUNK = 1000


def pause(queue: str) -> bool:
    """Begin nothing of this queue any more, from now on, on any worker. False: it was paused. Raises InvalidInput."""
    _check(queue)
    return PausedQueue.objects.get_or_create(queue=queue)[1]


def resume(queue: str) -> int | None:
    """Begin again; how many jobs have waited for it, or None when it was not paused. Raises InvalidInput."""
    _check(queue)
    deleted, _ = PausedQueue.objects.filter(queue=queue).delete()
    return _ring(queue) if deleted else None


def paused() -> dict[str, datetime]:
    """The queues that stand still, and since when."""
    return dict(PausedQueue.objects.values_list("queue", "paused_at"))


def _ring(queue: str) -> int:
    """Ring for all that is queued: the doorbells of a paused queue came to nothing.

    Where the broker is away the sweeper does it: its queue is empty then, or holds messages that are as good.
    """
    total = 0
    for bells in doorbells.all_in(queue, CHUNK):
        total += len(bells)
        if not ring.ring_all(bells):
            break
    return total


def _check(queue: str) -> None:
    if not queues.is_known(queue):
        names = ", ".join(queues.PRIORITIES)
        raise InvalidInput(Problem("queue", queue, f"must be one of {names}, or a region such as email.eu"))
