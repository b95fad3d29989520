"""Keeping as many workers of each group on this machine as is decided, by way of the supervisor."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

from longwave.core.alarm import Alarm
from longwave.ops.scaling import owner, pool, steering
from longwave.ops.scaling.deciding import Decider, Look
from longwave.ops.scaling.load import Group
from longwave.ops.supervisor import Child, Supervisor

LAST_LOOK = 2.0
"""Seconds that a look has to end after everything has been stopped."""


def keep(
    groups: Sequence[Group], supervisor: Supervisor, worker: Callable[[Group, str], Child], *, every: float
) -> int:
    """Run the supervisor until it is told to stop, with the workers that are decided on meanwhile. Its exit code.

    worker: what runs as a worker of this group, under this name. every: seconds between two looks.
    The caller holds the lock of the supervisor's folder. Raises ChildTrouble, as the supervisor does.
    """
    stop = Alarm()
    leaving = partial(_count_leaving, supervisor)
    decider = Decider(groups, owner.of(supervisor.run_folder), every=every, leaving=leaving)
    steer = partial(steering.steer, decider, stop, partial(_act, supervisor, groups, worker))
    steering_thread = threading.Thread(target=steer, name="autoscale", daemon=True)
    supervisor.on_ready = steering_thread.start
    code = supervisor.run()
    stop.set()
    if steering_thread.ident is not None:
        steering_thread.join(LAST_LOOK)  # it would take the leases again
    steering.leave(decider)
    return code


def _act(
    supervisor: Supervisor,
    groups: Sequence[Group],
    worker: Callable[[Group, str], Child],
    looks: Sequence[Look],
) -> None:
    """Keep as many workers of each group as was decided, and none of one that another process decides for."""
    desired = {look.group.name: look.decision.desired for look in looks}
    members = supervisor.members()
    children: list[Child] = []
    for group in groups:
        mine = pool.of_group(group, members)
        names = pool.names_to_keep(group, desired.get(group.name, 0), mine)
        children += [worker(group, name) for name in names]
    supervisor.keep(children)


def _count_leaving(supervisor: Supervisor, group: Group) -> int:
    return sum(one.is_leaving for one in pool.of_group(group, supervisor.members()))
