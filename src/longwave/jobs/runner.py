"""Running claimed jobs: claim, call, record. What a Celery task does, and all it does."""

import os
import secrets
import socket
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import structlog
from django.db import InterfaceError, OperationalError

from longwave import database
from longwave.jobs import (
    coroutines,
    declare,
    doorbells,
    endings,
    heartbeat,
    job_context,
    ledger,
    ring,
    running,
    stop,
)
from longwave.jobs.bundle import Bundle
from longwave.jobs.declare import AnyJob
from longwave.jobs.ledger import Claim

T = TypeVar("T")
log = structlog.get_logger("longwave.jobs")

CLAIM_PATIENCE = 30.0
"""Seconds that a message waits for a database that is away, before it goes back to the broker."""

_HOST = socket.gethostname()
_main_pid = os.getpid()
_mark = secrets.token_hex(2)  # of this start: pids come back, and containers share hosts' names
_child = 0  # which of the processes that the worker has forked: their pids come back too


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this process' one event loop, which outlasts the job."""
    return coroutines.run(coroutine)


def owner_prefix(main_pid: int) -> str:
    """How the owner of all jobs begins that are run by the worker with this main process, on this host."""
    return f"{_HOST}:{main_pid}:"


def own_prefix() -> str:
    """As `owner_prefix` for this worker, and no other that had, has or will have its pid on a host of that name."""
    return f"{owner_prefix(_main_pid)}{_mark}."


def worker_of(owner: str) -> tuple[str, int]:
    """The host and the main process' pid of the worker that an owner names."""
    host, pid, *_ = owner.rsplit(":", 3)
    return host, int(pid) if pid.isdecimal() else 0


def is_main(pid: int) -> None:
    """Say which process is the worker's main one; the children it forks name it in their jobs' owner."""
    global _main_pid
    _main_pid = pid


def next_child() -> str:
    """Number the process that is forked next; how the owner of all begins that it will run, and of no other's work."""
    global _child
    _child += 1
    return _child_prefix()


def _child_prefix() -> str:
    return f"{own_prefix()}{_child}."


def perform(name: str, pairs: Sequence[tuple[int, int]]) -> None:
    """Run the jobs of one message, one after the other."""
    left = deque(pairs)
    try:
        if not stop.stopping():
            left = deque(_run_claimable(name, pairs))
        while left:
            if stop.stopping():
                _pass_on(left)
                return
            execute(*left[0])
            left.popleft()
    except (OperationalError, InterfaceError) as error:
        if not database.is_passing(error):
            raise
        log.warning("database_away", job_name=name, why=str(error))
        _ring_blindly(name, list(left))


def _run_claimable(name: str, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Run what can be claimed with one statement, as nearly all can; the rest has to be looked at one by one."""
    declared = declare.get(name)
    if declared is None or (declared.max_crashes == 1 and len(pairs) > 1):
        return list(pairs)  # one that may cost no second worker must not be blamed for another's
    until, owner = job_context.now() + declared.lease, _new_owner()
    claims = database.persist(
        lambda: ledger.claim_many(name, pairs, owner, declared.lease), give_up_after=CLAIM_PATIENCE
    )
    if len(claims) == 1:
        _run(declared, claims[0], until)
    elif claims:
        Bundle(declared, claims, until).run()
    ran = {held.id for held in claims}
    return [(job_id, seq) for job_id, seq in pairs if job_id not in ran]


def execute(job_id: int, seq: int) -> bool:
    """Run one job, when this message is still the valid one; whether it was."""
    started = job_context.now()
    claimed = database.persist(_claiming(job_id, seq), give_up_after=CLAIM_PATIENCE)
    if claimed is None:
        return False
    held, declared = claimed
    _run(declared, held, started + declared.lease)
    return True


def _run(declared: AnyJob, held: Claim, until: float) -> None:
    context = running.context_of(held, until)
    with heartbeat.renewing(context, declared.lease):
        endings.record(declared, held, running.call(declared, context, held))


def _claiming(job_id: int, seq: int) -> Any:
    owner = _new_owner()

    def claim() -> tuple[Claim, AnyJob] | None:
        row = ledger.look(job_id)
        declared = declare.get(row.name) if row is not None else None
        if row is None or declared is None:
            return None
        held = ledger.claim(row, seq, owner, declared.lease)
        return None if held is None else (held, declared)

    return claim


def _new_owner() -> str:
    """Unique for this attempt to claim, so that repeating it after a lost answer recognises its own claim."""
    return f"{_child_prefix()}{os.getpid()}:{secrets.token_hex(4)}"


def _pass_on(pairs: Iterable[tuple[int, int]]) -> None:
    """This worker is stopping: let another have what it has not begun."""
    ring.ring_all(doorbells.still_queued([job_id for job_id, _ in pairs]))


def _ring_blindly(name: str, pairs: Sequence[tuple[int, int]]) -> None:
    """Give a message back while the database cannot be asked for its queue: its job's own will do."""
    declared = declare.get(name)
    if declared is not None:
        ring.ring(name, declared.queue, pairs)
