"""How many workers each group of queues should have."""

from collections.abc import Iterator

from longwave.ops.metrics.figures import Figure, Part, Reading
from longwave.ops.scaling import published

_BY_GROUP = ("group",)

DESIRED = Figure(
    "longwave_desired_workers",
    "Workers that a group of queues should have, by `longwave autoscale`",
    _BY_GROUP,
)
MINIMUM = Figure("longwave_desired_workers_min", "The fewest that it may be told to have", _BY_GROUP)
MAXIMUM = Figure("longwave_desired_workers_max", "The most that it may be told to have", _BY_GROUP)
STALE = Figure(
    "longwave_desired_workers_stale",
    f"1 while nobody has looked at the group for {published.STALE_AFTER:g} seconds, so that the number says nothing",
    _BY_GROUP,
)


def _read() -> Iterator[Reading]:
    for group in published.groups():
        label = (group.group,)
        yield Reading(DESIRED, group.desired, label)
        yield Reading(MINIMUM, group.min, label)
        yield Reading(MAXIMUM, group.max, label)
        yield Reading(STALE, float(group.is_stale), label)


PART = Part("scaling", (DESIRED, MINIMUM, MAXIMUM, STALE), _read)
