"""The sweeper: what is due is queued, what died is returned, what was not heard is rung again."""

import structlog

from longwave.jobs import (
    broker,
    declare,
    deserted,
    doorbells,
    endings,
    leases,
    pending,
    ring,
    rooms,
    set_clock,
)
from longwave.jobs.chores import chore
from longwave.jobs.models import Job

log = structlog.get_logger("longwave.jobs")

CHUNK = 1000

UNHEARD_AFTER = 5.0
"""Seconds after which a doorbell was lost, when the broker's queue is empty and its job still queued."""

INSIST_AFTER = 600.0
"""Seconds after which it is rung again although the queue is not empty."""

POISON_UNKNOWN = 3
"""Dead workers in a row that a job may cost whose code is gone."""


@chore(every=1.0)
def queue_due() -> int:
    """Queue scheduled and retried jobs whose time has come; how many."""
    total = 0
    while bells := pending.due(CHUNK):
        ring.ring_all(bells)
        total += len(bells)
        if len(bells) < CHUNK:
            break
    return total


@chore(every=1.0)
def return_expired() -> int:
    """Give back the jobs whose lease ran out; how many."""
    rows = deserted.expired(CHUNK)
    if rows and set_clock.watch.mend():
        return 0  # it was the clock that made them run out
    return _return(rows, is_dead=False)


def expire_owner(prefix: str) -> int:
    """Give back, at once, all running jobs of the owners that begin with `prefix`; how many.

    Only for who is known to be dead: a worker, with `runner.owner_prefix(pid)` of its main process, or one of its
    children, with what `runner.next_child()` said as it was forked.
    """
    rooms.load()  # whoever calls this may know no job yet, and which are never poison
    return _return(deserted.owned_by(prefix), is_dead=True)


def hand_back(prefix: str) -> int:
    """Queue again, at once, what the owners that begin with `prefix` had begun; how many. It is no crash.

    Only for a worker that was stopped, and in which surely nothing runs any more: `runner.own_prefix()`.
    """
    rooms.load()
    return sum(_hand_back(row) for row in deserted.owned_by(prefix))


def _hand_back(row: Job) -> bool:
    if deserted.hand_back(row):
        log.info("job_handed_back", job=row.pk, job_name=row.name, queue=row.queue)
        ring.ring_all([doorbells.Bell(row.pk, row.seq + 1, row.name, row.queue)])
        return True
    if leases.stop_if_asked(row):
        log.info("job_cancelled", job=row.pk, job_name=row.name, why=row.cancel_reason)
        endings.followed(row.pk, row.serial_key)
        return True
    return False


@chore(every=1.0)
def ring_unheard() -> int:
    """Ring again for queued jobs whose doorbell was lost; how many. The jobs themselves do not change."""
    try:
        return sum(_ring_unheard(queue) for queue in doorbells.queues_with_ready_jobs())
    except broker.BrokerAway:
        return 0


def _ring_unheard(queue: str) -> int:
    unrung = doorbells.unrung(queue, CHUNK)
    if not unrung and not doorbells.rung_before(queue, UNHEARD_AFTER, 1):
        return 0
    is_empty = broker.depth(queue) == 0  # also the question whether the broker is there
    age = UNHEARD_AFTER if is_empty else INSIST_AFTER
    bells = doorbells.without_locked(unrung or doorbells.rung_before(queue, age, CHUNK))
    doorbells.mark_rung([bell.id for bell in bells])
    return len(bells) if ring.ring_all(bells) else 0


def _return(rows: list[Job], *, is_dead: bool) -> int:
    returned = 0
    for row in rows:
        crashes = row.crashes + 1
        if row.cancel_reason:
            if deserted.stop(row, is_dead=is_dead):
                returned += 1
                log.info("job_cancelled", job=row.pk, job_name=row.name, why=row.cancel_reason)
                endings.cancelled(row)
        elif is_poison(row.name, crashes):
            error = f"Its worker died {crashes} times in a row while running it."
            if deserted.poison(row, error, is_dead=is_dead):
                returned += 1
                log.error("job_poisonous", job=row.pk, job_name=row.name, crashes=crashes)
                endings.poisoned(row, error)
        elif deserted.give_back(row, is_dead=is_dead):
            returned += 1
            log.warning("job_returned", job=row.pk, job_name=row.name, crashes=crashes, owner=row.owner)
            ring.ring_all([doorbells.Bell(row.pk, row.seq + 1, row.name, row.queue)])
    return returned


def is_poison(name: str, crashes: int) -> bool:
    """Whether a job that cost so many workers in a row is given up."""
    declared = declare.get(name)
    limit = declared.max_crashes if declared else POISON_UNKNOWN
    return limit is not None and crashes >= limit
