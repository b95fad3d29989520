"""The epoch mark: a message in a queue that nobody consumes. A broker without it has lost our doorbells too.

One way for every broker: FLUSHALL, a deleted virtual host, a restart without a disk and a broker that was
replaced all take the mark away.
"""

import uuid

import structlog

from longwave.jobs import broker, doorbells, ring
from longwave.jobs.chores import chore
from longwave.jobs.models import Epoch

log = structlog.get_logger("longwave.jobs")

PREFIX = "longwave.epoch."
CHUNK = 1000


@chore(every=1.0)
def check() -> bool:
    """Look for the mark; when it is missing, ring for all queued jobs and leave a new one.

    False when the broker is away.
    """
    mark = Epoch.objects.filter(pk=1).values_list("mark", flat=True).first()
    try:
        if mark is None or broker.depth(PREFIX + mark) == 0:
            return _renew(mark)
    except broker.BrokerAway:
        return False
    return True


def _renew(old: str | None) -> bool:
    # In the broker first, in the ledger last: whatever is lost or dies in between, the next look starts over.
    new = uuid.uuid4().hex
    broker.put(PREFIX + new)
    rung = ring_everything()
    if rung is None or not _remember(old, new):
        broker.delete(PREFIX + new)
        return rung is not None
    if old is not None:
        broker.delete(PREFIX + old)
        log.warning("broker_was_emptied", rung_again=rung)
    return True


def _remember(old: str | None, new: str) -> bool:
    """Store the new mark, unless another beat was first."""
    if old is None:
        return Epoch.objects.get_or_create(pk=1, defaults={"mark": new})[1]
    return Epoch.objects.filter(pk=1, mark=old).update(mark=new) == 1


def ring_everything() -> int | None:
    """Ring for all queued jobs; how many, or None when the broker went away."""
    total = 0
    for queue in doorbells.first_in_line():
        for bells in doorbells.all_in(queue, CHUNK):
            if not ring.ring_all(bells):
                return None
            total += len(bells)
    return total
