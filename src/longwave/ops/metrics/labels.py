"""Labels have few values, whatever is in the database: each of them is a time series that Prometheus keeps."""

from collections.abc import Iterable

from longwave.jobs import queues
from longwave.ops.metrics.figures import OTHER

REGIONAL_QUEUES = 100
"""Queues of regions that are shown by their names: the first in the alphabet, or the first that a process meets."""


class QueueNames:
    """What each queue is shown as, with room for so many of regions."""

    def __init__(self) -> None:
        self._shown = {name: name for name in queues.PRIORITIES}
        self._room = REGIONAL_QUEUES

    def label(self, queue: str) -> str:
        """Its name, or `other`."""
        shown = self._shown.get(queue)
        if shown is not None:
            return shown
        if not self._room or not _is_regional(queue):
            return OTHER
        self._room -= 1
        self._shown[queue] = queue
        return queue


def queue_labels(names: Iterable[str]) -> dict[str, str]:
    """What each of these queues is shown as."""
    known = QueueNames()
    return {name: known.label(name) for name in sorted(set(names))}


def _is_regional(queue: str) -> bool:
    return queues.base(queue) in queues.PRIORITIES and queues.is_region(queue.partition(".")[2])
