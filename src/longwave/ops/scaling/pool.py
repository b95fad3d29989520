"""Which workers of this machine to keep: as many as decided, and of too many those that have something to do."""

import math
import socket
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import count

from longwave.jobs import runner
from longwave.jobs.models import Job, Status
from longwave.ops.scaling.load import Group
from longwave.ops.supervisor import Member


def names_to_keep(group: Group, desired: int, members: Sequence[Member]) -> list[str]:
    """The names of the group's workers to keep running, where so many are desired. members: those there are now."""
    leaving = {one.name: one.pid for one in members if one.is_leaving}
    staying = {one.name: one.pid for one in members if not one.is_leaving}
    places = running_here() if leaving or desired < len(staying) else {}
    still_run = sum(places.get(pid, 0) for pid in leaving.values() if pid is not None)
    wanted = min(desired, _allowed_beside(group, still_run))
    busy = {name: places.get(pid, 0) for name, pid in staying.items() if pid is not None}
    return choose(_prefix(group), wanted, list(staying), leaving, busy)


def of_group(group: Group, members: Sequence[Member]) -> list[Member]:
    """The workers of the group among the supervisor's children."""
    return [one for one in members if one.name.startswith(_prefix(group))]


def name_of(group: Group, number: int) -> str:
    """What a worker is called."""
    return f"{_prefix(group)}{number}"


def choose(
    prefix: str, wanted: int, staying: Sequence[str], leaving: Collection[str], busy: Mapping[str, int]
) -> list[str]:
    """The names of the workers to keep running. Names of those that are still leaving are not given again.

    prefix: what every name begins with; a number follows. busy: how many jobs each of them runs.
    """
    if wanted < len(staying):
        by_work = sorted(staying, key=lambda name: (-busy.get(name, 0), staying.index(name)))
        return sorted(by_work[:wanted], key=staying.index)
    taken = {*staying, *leaving}
    free = (name for number in count(1) if (name := f"{prefix}{number}") not in taken)
    return [*staying, *(next(free) for _ in range(wanted - len(staying)))]


def running_here() -> Counter[int]:
    """Main process of a worker on this machine → jobs that it runs."""
    owners = Job.objects.filter(status=Status.RUNNING).values_list("owner", flat=True)
    places = [runner.worker_of(owner) for owner in set(owners)]
    return Counter(pid for host, pid in places if host == socket.gethostname())


def _allowed_beside(group: Group, still_run: int) -> int:
    """How many workers may take work beside those that are leaving, which still run so many jobs.

    Those jobs count against the most that may run at a time; a place that is empty does not, since nothing takes it any
    more. The fewest stay whatever is leaving: else nothing would be begun until it has left.
    """
    taken = math.ceil(still_run / group.concurrency)
    return max(group.limits.minimum, group.limits.maximum - taken)


def _prefix(group: Group) -> str:
    return f"auto-{group.name}-"
