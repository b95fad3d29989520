"""Queues that stand still: nothing of them is begun, what runs goes on, and submitting works as always."""

from dataclasses import dataclass
from datetime import UTC, datetime

from longwave.core.text import storable
from longwave.jobs import doorbells, moves, queues, ring
from longwave.jobs.models import PausedQueue

CHUNK = 1000
MAX_BY = 190


@dataclass(frozen=True, slots=True)
class Pause:
    """Of a queue. at: since when. by: who paused it, and reason: why, as far as they said."""

    at: datetime
    by: str
    reason: str

    def __str__(self) -> str:
        by, why = f" by {self.by}" if self.by else "", f": {self.reason}" if self.reason else ""
        return f"paused since {self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{by}{why}"


def pause(queue: str, *, by: str = "", reason: str = "") -> bool:
    """Begin nothing of this queue any more, from now on, on any worker. False: it was paused. Raises InvalidInput."""
    queues.check(queue)
    given = {"by": storable(by)[:MAX_BY], "reason": moves.storable_reason(reason)}
    return PausedQueue.objects.get_or_create(given, queue=queue)[1]


def resume(queue: str) -> int | None:
    """Begin again; how many jobs have waited for it, or None when it was not paused. Raises InvalidInput."""
    queues.check(queue)
    deleted, _ = PausedQueue.objects.filter(queue=queue).delete()
    return _ring(queue) if deleted else None


def paused() -> dict[str, Pause]:
    """The queues that stand still."""
    rows = PausedQueue.objects.values_list("queue", "paused_at", "by", "reason")
    return {queue: Pause(at, by, reason) for queue, at, by, reason in rows}


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
