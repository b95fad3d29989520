"""What dead workers held goes to the living at once, instead of when its leases run out."""

from collections.abc import Iterable

import psutil

from longwave.campaigns import ledger
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
        returned += ledger.expire_owner(owner) + sweep.expire_owner(owner)
    return returned
