"""What dead workers held goes to the living at once, instead of when its leases run out."""

from collections.abc import Iterable

import psutil

from longwave import database
from longwave.campaigns import leases
from longwave.jobs import rooms, runner, sweep


def return_work(pids: Iterable[int]) -> int:
    """Free all jobs and batches of these main processes of workers on this machine; how many there were.

    A pid that is alive again belongs to somebody else by now. It is left alone: the leases run out anyway.
    """
    rooms.load()  # the sweeper must know each job's own rule for crashes
    returned = 0
    for pid in pids:
        if psutil.pid_exists(pid):
            continue
        owner = runner.owner_prefix(pid)
        # Batches first: a job that is run again at once must find them free.
        returned += leases.expire_owner(owner) + sweep.expire_owner(owner)
    return returned


HAND_OVER_PATIENCE = 3.0
"""Seconds that a stopped worker waits for a database that is away. After that the leases run out."""


def hand_over(prefix: str, *, is_crash: bool = False) -> int:
    """Free what a worker that was stopped has left: `runner.own_prefix()` of one in which nothing runs any more.

    is_crash: it is one of its children, which died, or the worker had all the time that a job may have. What does it
    again and again is given up.
    """
    hand_back = sweep.expire_owner if is_crash else sweep.hand_back

    def free() -> int:
        return leases.expire_owner(prefix) + hand_back(prefix)

    return database.persist(free, give_up_after=HAND_OVER_PATIENCE)
