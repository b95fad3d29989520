"""Taking jobs back: one by its number, or what waits in a queue."""

from longwave.core.errors import Conflict, InvalidInput, NotFound, Problem
from longwave.jobs import endings, ledger, queues, waiting
from longwave.jobs.models import FINISHED

CHUNK = 1000
TRIES = 20
"""Moves that a job can make while it is looked at. More than a few mean that something is wrong."""


def cancel(job_id: int, reason: str) -> bool:
    """Cancel a job that waits, at once, or have a running one stop at its next checkpoint. False: it had ended.

    Raises NotFound for a job that there is not.
    """
    reason = reason.strip() or "cancelled"
    for _ in range(TRIES):
        row = ledger.look(job_id)
        if row is None:
            raise NotFound(f"There is no task {job_id}; those that ended are forgotten after a while.")
        if row.status in FINISHED:
            return False
        if ledger.cancel([job_id], reason):
            endings.followed(job_id, row.serial_key)
            return True
        if ledger.ask_to_stop(job_id, reason):
            return True
    raise Conflict(f"Task {job_id} begins and ends its turns faster than it can be cancelled; try again.")


def purge(queue: str, reason: str) -> int:
    """Cancel what is in the queue now and has not begun; how many. Running jobs go on. Raises InvalidInput."""
    if not queues.is_known(queue):
        names = ", ".join(queues.PRIORITIES)
        raise InvalidInput(Problem("queue", queue, f"must be one of {names}, or a region such as email.eu"))
    total, last = 0, ledger.last_id()
    while ids := ledger.waiting_in(queue, CHUNK, last):
        total += ledger.cancel(ids, reason)
    waiting.settle()  # what is too much for one turn is left to the chore
    return total
