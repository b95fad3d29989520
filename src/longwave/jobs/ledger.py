"""The job ledger's hot statements: what is submitted is inserted, what is rung for claimed, what is done finished.

The other verbs of states.py: leases.py for who runs a job, pending.py, deserted.py and failed.py for the rest.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from longwave import database
from longwave.jobs import doorbells
from longwave.jobs.models import Job, Status
from longwave.jobs.states import JOB


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this process holds the lease of, as it was when it was claimed.

    waited: seconds from when it could have run until it was claimed.
    """

    id: int
    seq: int
    owner: str
    name: str
    queue: str
    args: dict[str, Any]
    attempt: int
    failures: int
    crashes: int
    serial_key: str | None
    saved: Any
    waited: float = field(default=0.0, compare=False)


def insert(row: Job) -> int:
    """Insert a row that has no dedupe key; its id. Runs in the caller's transaction, if there is one."""
    return _insert([row])[0]


def insert_many(rows: Sequence[Job]) -> list[int]:
    """Insert rows that have no dedupe key; their ids in order. Runs in the caller's transaction."""
    if database.dialect() == "postgresql":
        return _insert_as_json(rows)
    insert = _insert if connection.features.can_return_rows_from_bulk_insert else _insert_counting
    sizes = [len(json.dumps(row.args)) for row in rows] if database.dialect() == "mysql" else []
    return [job_id for some in _in_statements(sizes, len(rows)) for job_id in insert(rows[some])]


def insert_unique(row: Job) -> tuple[int, bool]:
    """Insert a row with a dedupe key, or find the unfinished one that has it: `(id, is it new)`."""
    while True:
        existing = Job.objects.filter(dedupe_slot=row.dedupe_slot).values_list("pk", flat=True).first()
        if existing is not None:
            return existing, False
        try:
            with transaction.atomic():
                return insert(row), True
        except IntegrityError:
            # Another submitter was first. Its job is found now, unless it has finished already.
            continue


STATEMENT = 3_000_000
"""Characters of JSON in a statement. MySQL and MariaDB take 16 MB unless told otherwise, and escaping needs a part."""


def _in_statements(sizes: Sequence[int], count: int) -> Iterator[slice]:
    """How so many rows are divided among statements. sizes: characters of each; none where any number is taken."""
    start = total = 0
    for position, size in enumerate(sizes):
        total += size
        if total > STATEMENT and position > start:
            yield slice(start, position)
            start, total = position, size
    yield slice(start, count)


_GIVEN = (
    *("name", "queue", "args", "status", "run_at", "rung_at", "serial_key", "dedupe_slot"),
    *("parent_id", "is_waiting", "cancel_reason", "finished_at"),
)
"""What a new row has values for. The rest the database knows: each value of each row costs time here."""


def _insert(rows: Sequence[Job], *, is_counted: bool = False) -> list[int]:
    """One INSERT; the ids it returns, unless they are counted."""
    _set_rung(rows)
    fields = [Job._meta.get_field(name) for name in _GIVEN]
    returning = None if is_counted else [Job._meta.pk]
    new: Any = Job.objects.get_queryset()
    return [pk for (pk,) in new._insert(rows, fields=fields, returning_fields=returning, using="default")]


_INSERT_AS_JSON = (
    "INSERT INTO longwave_job (name, queue, args, status, run_at, rung_at, serial_key, dedupe_slot, parent_id,"
    " is_waiting, cancel_reason, finished_at)"
    " SELECT e->>0, e->>1, e->2, e->>3, (e->>4)::timestamptz,"
    " CASE WHEN e->>3 = 'queued' THEN STATEMENT_TIMESTAMP() END, e->>5, e->>6, (e->>7)::bigint,"
    " (e->>8)::boolean, e->>9, (e->>10)::timestamptz"
    " FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS given(e, number) ORDER BY number RETURNING id"
)


def _insert_as_json(rows: Sequence[Job]) -> list[int]:
    """With one parameter: binding a dozen values of each of a thousand rows takes longer than inserting them."""
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_AS_JSON, [json.dumps([_as_list(row) for row in rows])])
        return sorted(job_id for (job_id,) in cursor.fetchall())


def _as_list(row: Job) -> list[Any]:
    run_at, finished_at = (at.isoformat() if at else None for at in (row.run_at, row.finished_at))
    first = [row.name, row.queue, row.args, row.status, run_at, row.serial_key, row.dedupe_slot]
    return [*first, row.parent_id, row.is_waiting, row.cancel_reason, finished_at]


def _set_rung(rows: Iterable[Job]) -> None:
    for row in rows:
        if row.status == Status.QUEUED:
            row.rung_at = Now()


def _insert_counting(rows: Sequence[Job]) -> list[int]:
    """For MySQL, which returns no ids: those of one multi-row INSERT follow one another."""
    with transaction.atomic():
        _insert(rows, is_counted=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT LAST_INSERT_ID(), @@auto_increment_increment")
            first, step = cursor.fetchone()
    return [first + step * position for position in range(len(rows))]


def look(job_id: int) -> Job | None:
    """The row as it is now."""
    return Job.objects.filter(pk=job_id).first()


def claim(row: Job, seq: int, owner: str, lease: float) -> Claim | None:
    """Start the job `row` (just read) in its `seq`; None when the message is stale or it is not its turn yet.

    Safe to repeat after a lost answer, because `owner` is unique for every attempt to claim.
    """
    if row.status == Status.RUNNING and row.seq == seq and row.owner == owner:
        return _claimed(row, owner, row.attempt, row.started_at)
    if row.status not in JOB.sources("claim") or row.seq != seq:
        return None
    if row.serial_key is not None and doorbells.earlier(row.serial_key, row.pk).exists():
        return None
    try:
        # No transaction around one statement: it would cost two more round trips.
        mine = doorbells.unpaused().filter(pk=row.pk, seq=seq, status__in=JOB.sources("claim"))
        changed = mine.update(
            status=Status.RUNNING,
            owner=owner,
            lease_until=Now() + timedelta(seconds=lease),
            attempt=F("attempt") + 1,
            started_at=Now(),
            serial_slot=row.serial_key,
        )
    except IntegrityError:
        return None  # its serial_slot is taken: whoever holds it rings us when it ends
    # Inexact by design: by this machine's clock, as asking for the database's would cost another round trip.
    return _claimed(row, owner, row.attempt + 1, datetime.now(UTC)) if changed else None


_PAIRS = {
    "sqlite": "(SELECT json_extract(value, '$[0]') AS job_id, json_extract(value, '$[1]') AS job_seq"
    " FROM json_each(%s)) AS v",
    "postgresql": "(SELECT (e->>0)::bigint AS job_id, (e->>1)::int AS job_seq"
    " FROM json_array_elements(%s::json) AS e) AS v",
    "mysql": "JSON_TABLE(%s, '$[*]' COLUMNS (job_id BIGINT PATH '$[0]', job_seq INT PATH '$[1]')) AS v",
}

_LEASED = "status = 'running', owner = %s, lease_until = {until}, attempt = attempt + 1, started_at = {now}"

_FREE = (
    "status = 'queued' AND serial_key IS NULL AND crashes = 0 AND name = %s"
    " AND queue NOT IN (SELECT p.queue FROM longwave_paused_queue p)"
)

_CLAIMED = ("id", "seq", "name", "queue", "args", "attempt", "failures", "crashes", "checkpoint", "waited")

_WAITED = {
    "sqlite": "(julianday(started_at) - julianday(ready_at)) * 86400.0",
    "postgresql": "extract(epoch FROM started_at - ready_at)::float8",
}

_CLAIM = {
    "sqlite": f"UPDATE longwave_job SET {_LEASED} FROM {{pairs}} WHERE id = v.job_id AND seq = v.job_seq AND {_FREE}"
    f" RETURNING {', '.join(_CLAIMED[:-1])}, {{waited}}",
    "mysql": "UPDATE {pairs} STRAIGHT_JOIN longwave_job j FORCE INDEX (PRIMARY) ON j.id = v.job_id"
    f" AND j.seq = v.job_seq SET {_LEASED} WHERE {_FREE}",
}

# PostgreSQL, whose statistics of a burst are old, takes ten thousands in a status for a few, and would read them all:
# so the ids are named a second time, and no index fits the words that ask for the status. The key is what remains.
_CLAIM["postgresql"] = (
    _CLAIM["sqlite"]
    .replace("status = 'queued'", "status || '' = 'queued'")
    .replace(" RETURNING", " AND id = ANY(%s) RETURNING")
)


def claim_many(name: str, pairs: Sequence[tuple[int, int]], owner: str, lease: float) -> list[Claim]:
    """Start those of the jobs of that name that are queued in their seq, whatever the others are.

    Not those with a serial key, whose turn it may not be, nor those under which a worker died: a job that kills its
    worker must not take the blame to others. They run by themselves (`claim`). Safe to repeat after a lost answer,
    because `owner` is unique for every attempt to claim.
    """
    dialect, ids = database.dialect(), json.dumps(pairs)
    sql = _CLAIM[dialect].format(
        pairs=_PAIRS[dialect],
        now=database.NOW_SQL[dialect],
        until=database.IN_SECONDS_SQL[dialect].format("%s"),
        waited=_WAITED.get(dialect),
    )
    params: list[Any] = [ids, owner, lease, name] if dialect == "mysql" else [owner, lease, ids, name]
    if dialect == "postgresql":
        params.append([job_id for job_id, _ in pairs])
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows = [] if dialect == "mysql" else cursor.fetchall()
    claims = [_read(row, owner) for row in rows]
    return sorted(claims if len(claims) == len(pairs) else _claims_of(owner, pairs), key=lambda held: held.id)


def _claims_of(owner: str, pairs: Sequence[tuple[int, int]]) -> list[Claim]:
    ids = [job_id for job_id, _ in pairs]
    mine = Job.objects.filter(pk__in=ids, owner=owner, status=Status.RUNNING)
    return [_claimed(row, owner, row.attempt, row.started_at) for row in mine]


def _read(row: Sequence[Any], owner: str) -> Claim:
    values = dict(zip(_CLAIMED, row, strict=True))
    saved = values.pop("checkpoint")
    return Claim(
        **values | {"args": json.loads(values["args"]), "waited": max(0.0, values["waited"])},
        owner=owner,
        serial_key=None,
        saved=None if saved is None else json.loads(saved),
    )


def finish(held: Claim, result: Any) -> bool:
    """running → success."""
    return not finish_many(held.owner, [(held, result)])


_FINISHED = {
    "sqlite": "(SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS seq,"
    " json_extract(value, '$[2]') AS result FROM json_each(%s)) AS v",
    "postgresql": "(SELECT (e->>0)::bigint AS id, (e->>1)::int AS seq, (e->>2)::jsonb AS result"
    " FROM json_array_elements(%s::json) AS e) AS v",
    "mysql": "JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$[0]', seq INT PATH '$[1]',"
    " result LONGTEXT PATH '$[2]')) AS v",
}

_FINISH = {
    "sqlite": "UPDATE longwave_job SET status = 'success', result = v.result, error = '', traceback = '',"
    " lease_until = NULL, serial_slot = NULL, dedupe_slot = NULL, finished_at = {now} FROM {rows}"
    " WHERE longwave_job.id = v.id AND longwave_job.seq = v.seq"
    " AND longwave_job.owner = %s AND longwave_job.status = 'running' AND NOT longwave_job.is_awaited",
    "mysql": "UPDATE {rows} STRAIGHT_JOIN longwave_job j FORCE INDEX (PRIMARY) ON j.id = v.id AND j.seq = v.seq"
    " SET j.status = 'success', j.result = v.result, j.error = '', j.traceback = '', j.lease_until = NULL,"
    " j.serial_slot = NULL, j.dedupe_slot = NULL, j.finished_at = {now}"
    " WHERE j.owner = %s AND j.status = 'running' AND NOT j.is_awaited",
}

_FINISH["postgresql"] = (
    _FINISH["sqlite"].replace("status = 'running'", "status || '' = 'running'")
    + " AND longwave_job.id = ANY(%s)"
)


def finish_many(owner: str, ended: Sequence[tuple[Claim, Any]]) -> set[int]:
    """running → success for jobs of one owner with their results, but for those that others wait for.

    Answers with the ids of those, and of those that were not its own any more.
    """
    rows = [(held.id, held.seq, None if result is None else json.dumps(result)) for held, result in ended]
    sizes = [len(result or "") for *_, result in rows] if database.dialect() == "mysql" else []
    lost: set[int] = set()
    for some in _in_statements(sizes, len(rows)):
        lost |= _finish(owner, rows[some])
    return lost


def _finish(owner: str, rows: Sequence[tuple[int, int, str | None]]) -> set[int]:
    """With one statement. rows: id, seq and the result as JSON."""
    name, ids = database.dialect(), {job_id for job_id, *_ in rows}
    sql = _FINISH[name].format(rows=_FINISHED[name], now=database.NOW_SQL[name])
    named = [list(ids)] if name == "postgresql" else []
    with connection.cursor() as cursor:
        cursor.execute(sql, [json.dumps(rows), owner, *named])
        if cursor.rowcount == len(rows):
            return set()
    # Perhaps they were written before, and the answer was lost.
    written = Job.objects.filter(pk__in=ids, owner=owner, status=Status.SUCCESS)
    return ids - set(written.values_list("pk", flat=True))


def _claimed(row: Job, owner: str, attempt: int, at: datetime | None) -> Claim:
    return Claim(
        id=row.pk,
        seq=row.seq,
        owner=owner,
        name=row.name,
        queue=row.queue,
        args=row.args,
        attempt=attempt,
        failures=row.failures,
        crashes=row.crashes,
        serial_key=row.serial_key,
        saved=row.checkpoint,
        waited=0.0 if at is None else max(0.0, (at - row.ready_at).total_seconds()),
    )


_SQLITE_KNOWS = {
    "lw_job_line": "1000000 400000 100000 1",
    "lw_job_ready": "1000000 400000 100000 1",
    "lw_job_due": "1000000 150000 10",
    "lw_job_prune": "1000000 150000 1",
    "lw_job_serial": "1000000 200000 20000 1 noskipscan",
}
"""Index → rows in all, and with the same first column, with the same first two …: of a ledger that has been in use."""


def inform_planner() -> None:
    """Tell SQLite what other databases find out: that of one status there may be very many jobs.

    Without it SQLite takes any index for a good one, and reads all queued jobs to find ten by their ids.
    """
    if database.dialect() != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sqlite_schema")  # makes the table of statistics, where there is none
        cursor.execute("DELETE FROM sqlite_stat1 WHERE tbl = %s", [Job._meta.db_table])
        cursor.executemany(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (%s, %s, %s)",
            [(Job._meta.db_table, index, known) for index, known in _SQLITE_KNOWS.items()],
        )
        cursor.execute("ANALYZE sqlite_schema")  # reads them
