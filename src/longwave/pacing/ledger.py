"""The pacing ledger: every limit's next free slot, shared by all processes, in the database's own clock.

A reservation reads the rows and the clock in one statement, decides (`core.slots.plan`), and writes what it
decided on condition that the rows still stand as read. Somebody else was faster: once more; twice: it takes
the rows' locks first. So the common case costs two round trips and holds no lock between them, and a refusal
costs one and writes nothing.

Call these outside of transactions: a reservation must be seen by the others at once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from longwave import database
from longwave.core.slots import (
    BULK_HORIZON,
    SECOND,
    SET_AHEAD,
    ClockOffset,
    Grant,
    Plan,
    Rate,
    Standing,
    plan,
    with_gap,
)
from longwave.pacing.models import Limit

__all__ = [
    "Grant",
    "Rate",
    "State",
    "forget_idle",
    "give_back",
    "hold",
    "push",
    "release",
    "reserve",
    "state",
    "states",
]

OPTIMISTIC_TRIES = 2
"""Writes that may lose against another process before the locks are taken."""

IDLE_AFTER = 3600
"""Seconds after which a limit that nobody used is as good as a new one."""

_COLUMNS = ("next_free", "held_until", "held_reason", "weight", "gap_at", "gap_us")
_CLOCK = {
    "sqlite": "0",  # has no clock of its own; the host's is read beside the statement
    "postgresql": "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)",
    "mysql": "(SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED))",
}

Rows = Mapping[str, Standing]


@dataclass(frozen=True, slots=True)
class State:
    """How one limit stands now, for reports. Times are microseconds of the database's clock."""

    next_free_us: int
    held_until_us: int
    held_reason: str
    now_us: int

    @property
    def held_seconds(self) -> float:
        """How long the hold still lasts; 0 without one."""
        return max(0, self.held_until_us - self.now_us) / SECOND


def reserve(
    limits: Sequence[Rate],
    n: int,
    *,
    horizon: float = BULK_HORIZON,
    weight: int = 1,
    burst_guard: float,
    lead: float = 0.0,
    clock: ClockOffset | None = None,
) -> Grant:
    """Take up to `n` slots that all `limits` allow. The first limit is the sender's and sets the pace.

    horizon: how many seconds ahead the slots may lie. weight: how many sends each message counts as.
    burst_guard: how much wider than 1/rate slots lie, as a fraction. lead: seconds until the caller can start
    (it has work to do first). clock: learns from the answer how the database's clock stands to the caller's.
    Grant.count may be less than n, and 0.
    """
    if n < 1 or weight < 1 or not limits:
        raise ValueError(
            f"reserve needs a limit, and n and weight from 1 on; got {len(limits)}, {n}, {weight}"
        )

    is_set_ahead = False

    def decide(rows: Rows, now_us: int) -> Plan:
        return plan(
            limits,
            rows,
            now_us=now_us,
            n=n,
            horizon=horizon,
            lead=lead,
            weight=weight,
            burst_guard=burst_guard,
            is_set_ahead=is_set_ahead,
        )

    keys = [limit.key for limit in limits]
    for _ in range(OPTIMISTIC_TRIES):
        rows, now_us, ahead = _read(keys, clock)
        is_set_ahead = is_set_ahead or ahead > SET_AHEAD
        decision = decide(rows, now_us)
        if not decision.changes or _write(rows, decision.changes):
            return decision.grant
    return _locked(keys, decide).grant


def push(key: str, us: int, *, slot_us: int | None = None) -> None:
    """Open a gap of `us` in the schedule, because a send left that much too late (`core.slots.debt`).

    slot_us: the slot of the (last) late send. With it, a gap that was already opened in the second after that
    slot
    counts: several lanes that were late together pay once. Call it within 0.1 s of the send, once for a block
    of sends with the highest debt among them.
    """
    if us <= 0:
        return

    def decide(rows: Rows, now_us: int) -> Plan:
        at = now_us if slot_us is None else slot_us
        row = rows[key] if slot_us is not None else replace(rows[key], gap_at=0)
        return _no_grant({key: with_gap(row, us, at)})

    _locked([key], decide)


def give_back(key: str, grant: Grant, unused: int) -> bool:
    """Return the last `unused` slots of a block, once. False: somebody has reserved after it, so they stay
    empty."""
    if not 0 < unused <= grant.count or grant.spacing_us == 0:
        return False
    free = grant.end_us - unused * grant.spacing_us
    # weight 0: what was sent last is not known any more, so the next album makes room for itself.
    return bool(Limit.objects.filter(key=key, next_free=grant.end_us).update(next_free=free, weight=0))


def hold(key: str, seconds: float, reason: str) -> float:
    """Let nothing under `key` start for `seconds` from now. Returns by how many seconds the hold grew.

    A longer hold that is already there stays as it is.
    """
    grown = 0

    def decide(rows: Rows, now_us: int) -> Plan:
        nonlocal grown
        until, row = now_us + round(seconds * SECOND), rows[key]
        grown = until - max(row.held_until, now_us)
        if grown <= 0:
            return _no_grant({})
        return _no_grant({key: replace(row, held_until=until, held_reason=reason[:255])})

    _locked([key], decide)
    return max(0, grown) / SECOND


def release(key: str) -> None:
    """End a hold at once."""
    Limit.objects.filter(key=key).update(held_until=0, held_reason="")


def state(key: str) -> State:
    """How the limit stands. One that was never used is free."""
    return states([key])[key]


def states(keys: Sequence[str]) -> dict[str, State]:
    """How each of these limits stands."""
    found = Limit.objects.in_bulk(list(keys))
    now_us = database.clock_us()
    rows = {key: found.get(key) or Limit(key=key) for key in keys}
    return {key: State(row.next_free, row.held_until, row.held_reason, now_us) for key, row in rows.items()}


def forget_idle(after: float = IDLE_AFTER) -> int:
    """Delete limits that nobody has used for `after` seconds (most are single chats'). They start anew when
    needed."""
    before = database.clock_us() - round(after * SECOND)
    deleted, _ = Limit.objects.filter(next_free__lt=before, held_until__lt=before).delete()
    return deleted


def _no_grant(changes: Rows) -> Plan:
    return Plan(Grant(0, 0, 0, 0, 0, "", 0), changes)


def _read(keys: Sequence[str], clock: ClockOffset | None) -> tuple[Rows, int, float]:
    """The rows and the clock at one moment, without locks, and by how many seconds that was set ahead meanwhile.

    Rows that do not exist yet are made.
    """
    dialect = database.dialect()
    name = connection.ops.quote_name
    columns = ", ".join(name(column) for column in ("key", *_COLUMNS))
    marks = ", ".join(["%s"] * len(keys))
    query = f"SELECT {columns}, {_CLOCK[dialect]} FROM longwave_limit WHERE {name('key')} IN ({marks})"
    while True:
        with connection.cursor() as cursor:
            asked = time.monotonic()
            cursor.execute(query, list(keys))
            found = cursor.fetchall()
            answered = time.monotonic()
        if len(found) == len(set(keys)):
            break
        _create(keys)
    if dialect == "sqlite":
        asked, now_us, answered = time.monotonic(), database.clock_us(), time.monotonic()
    else:
        now_us = int(found[0][-1])
    ahead = clock.add(asked, now_us, answered) if clock is not None else 0.0
    return {row[0]: Standing(*row[1:-1]) for row in found}, now_us, ahead


def _write(rows: Rows, changes: Rows) -> bool:
    """Write the changes if every row still stands as it was read; in key order, so that no two wait for each
    other."""
    if len(changes) == 1:
        [(key, standing)] = changes.items()
        return _replace(key, rows[key], standing)
    try:
        with transaction.atomic():
            for key in sorted(changes):
                if not _replace(key, rows[key], changes[key]):
                    raise _Overtaken
    except _Overtaken:
        return False
    return True


def _replace(key: str, old: Standing, new: Standing) -> bool:
    name = connection.ops.quote_name
    values = ", ".join(f"{name(column)} = %s" for column in _COLUMNS)
    guard = " AND ".join(f"{name(column)} = %s" for column in ("key", *_COLUMNS))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE longwave_limit SET {values} WHERE {guard}",
            [*_values(new).values(), key, *_values(old).values()],
        )
        return bool(cursor.rowcount == 1)


def _locked(keys: Sequence[str], decide: Callable[[Rows, int], Plan]) -> Plan:
    """Decide and write while holding the rows' locks. The clock is read when they are held."""
    while True:
        with transaction.atomic():
            rows = {row.key: _standing(row) for row in _for_update(keys)}
            if len(rows) == len(set(keys)):
                decision = decide(rows, database.clock_us())
                for key in sorted(decision.changes):
                    Limit.objects.filter(key=key).update(**_values(decision.changes[key]))
                return decision
        _create(keys)


def _for_update(keys: Sequence[str]) -> QuerySet[Limit]:
    # SQLite has no row locks and needs none: its transactions begin IMMEDIATE, one writer at a time.
    return Limit.objects.select_for_update().filter(key__in=keys).order_by("key")


def _create(keys: Sequence[str]) -> None:
    Limit.objects.bulk_create([Limit(key=key) for key in sorted(set(keys))], ignore_conflicts=True)


def _standing(row: Limit) -> Standing:
    return Standing(**{column: getattr(row, column) for column in _COLUMNS})


def _values(standing: Standing) -> dict[str, Any]:
    return {column: getattr(standing, column) for column in _COLUMNS}


class _Overtaken(Exception):
    """Another process changed a row between our reading and our writing."""
