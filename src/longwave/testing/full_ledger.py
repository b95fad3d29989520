"""A job ledger that has been in use for long: made in the database, a million rows in seconds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db import connection

from longwave import database
from longwave.jobs.models import Job, Status

QUEUES = (
    "default",
    "email",
    "telegram",
    "notifications",
    "import",
    "file_processing",
    "campaigns",
    "broadcast",
)
NAMES = 20
"""Different names of jobs: `used.0`, `used.1`, …"""

KEPT = 7 * 86_400 - 3600
"""Seconds since the first of them ended."""

STEP = 1009
"""Ages differ by a prime step: neighbours by id are not neighbours in time."""


@dataclass(frozen=True, slots=True)
class Use:
    """How many jobs of each kind. Of those that ended, two in a hundred were cancelled and one has failed.

    waiting: of each, those that wait for a first time and those that wait for another try.
    """

    ended: int
    queued: int
    running: int = 200
    waiting: int = 1000


def fill(use: Use) -> None:
    """Add these jobs, the ended ones first, and let the database count what it has."""
    sql = _DIALECTS[database.dialect()]
    failed, cancelled = use.ended // 100, use.ended // 50
    ended = _ended(sql)
    _add(sql, Status.SUCCESS, use.ended - failed - cancelled, ended | {"result": "'true'"})
    _add(sql, Status.CANCELLED, cancelled, ended | {"cancel_reason": "'purged by hand'"})
    _add(sql, Status.FAILURE, failed, ended | _BLAMED)
    _add(sql, Status.SCHEDULED, use.waiting, {"run_at": sql.ago("(0 - 60 - n %% 3600)")})
    _add(sql, Status.RETRY, use.waiting, {"run_at": sql.ago("(0 - 60 - n %% 3600)")} | _BLAMED)
    _add(sql, Status.QUEUED, use.queued, _rung(sql))
    _add(sql, Status.RUNNING, use.running, _held(sql))
    _count(sql)


@dataclass(frozen=True, slots=True)
class _Sql:
    """What the dialects do not agree about.

    ago: the time so many seconds ago. joined: one text of several. numbers: a table `x` with so many rows, whose column
    `n` counts from 0. as_json: of a text. count: has the planner know what is there.
    """

    ago: Callable[[str], str]
    joined: Callable[..., str]
    numbers: Callable[[int], str]
    as_json: Callable[[str], str]
    count: str


_DIGIT = f"(SELECT 0 d UNION ALL {' UNION ALL '.join(f'SELECT {digit}' for digit in range(1, 10))})"


def _by_digits(count: int) -> str:
    """MySQL has no series, and ends a recursion after a thousand: one table of digits for each place of `count`."""
    powers = range(len(str(count)))
    number = " + ".join(f"p{power}.d * {10**power}" for power in powers)
    places = ", ".join(f"{_DIGIT} p{power}" for power in powers)
    return f"(SELECT {number} AS n FROM {places}) x WHERE n < {count} ORDER BY n"  # noqa: S608


_DIALECTS = {
    "sqlite": _Sql(
        ago=lambda age: f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', (0 - {age}) || ' seconds')",
        joined=lambda *texts: f"({' || '.join(texts)})",
        numbers=lambda count: (
            f"(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < {count}) SELECT n FROM c) x"  # noqa: S608
        ),
        as_json=lambda text: text,
        count="",  # it is told, by the ledger
    ),
    "postgresql": _Sql(
        ago=lambda age: f"now() - {age} * interval '1 second'",
        joined=lambda *texts: f"({' || '.join(texts)})",
        numbers=lambda count: f"(SELECT generate_series(0, {count} - 1) AS n) x",
        as_json=lambda text: f"({text})::jsonb",
        count="VACUUM ANALYZE longwave_job",
    ),
    "mysql": _Sql(
        ago=lambda age: f"TIMESTAMPADD(SECOND, 0 - {age}, UTC_TIMESTAMP(6))",
        joined=lambda *texts: f"CONCAT({', '.join(texts)})",
        numbers=_by_digits,
        as_json=lambda text: text,
        count="ANALYZE TABLE longwave_job",
    ),
}

_BLAMED = {
    "error": "CASE WHEN n %% 3 = 0 THEN 'TimeoutError: no answer' ELSE 'ValueError: not a number' END",
    "traceback": "'" + "  File work.py, line 1, in work" * 40 + "'",
    "failures": "3",
}


def _ended(sql: _Sql) -> dict[str, str]:
    long_ago = sql.ago(f"(n * {STEP} %% {KEPT})")
    times = dict.fromkeys(("created_at", "ready_at", "started_at", "finished_at", "rung_at"), long_ago)
    return times | {"serial_key": _chat(sql), "attempt": "1", "owner": "'worker-1:100:200:a'"}


def _rung(sql: _Sql) -> dict[str, str]:
    lately = sql.ago(f"(n * {STEP} %% 600)")
    return {"rung_at": lately, "ready_at": lately, "serial_key": _chat(sql)}


def _held(sql: _Sql) -> dict[str, str]:
    return {
        "started_at": sql.ago("(n %% 600)"),
        "lease_until": sql.ago("(0 - 60)"),
        "owner": sql.joined("'worker-1:100:200:'", "n"),
        "attempt": "1",
    }


def _chat(sql: _Sql) -> str:
    """The serial key of every tenth."""
    chat = sql.joined("'chat:'", "(n %% 5000)")
    return f"CASE WHEN n %% 10 = 0 THEN {chat} END"


def _add(sql: _Sql, status: Status, count: int, columns: Mapping[str, str]) -> None:
    queue = " ".join(f"WHEN {place} THEN '{name}'" for place, name in enumerate(QUEUES))
    values = {
        "status": f"'{status}'",
        "name": sql.joined("'used.'", f"(n %% {NAMES})"),
        "queue": f"CASE n %% {len(QUEUES)} {queue} END",
        "args": sql.joined("'{\"user_id\": '", "n", "'}'"),
        "created_at": sql.ago("(600 + n %% 600)"),
        **columns,
    }
    for name in {"args", "result"} & set(values):
        values[name] = sql.as_json(values[name])
    insert = f"INSERT INTO {Job._meta.db_table} ({', '.join(values)})"
    with connection.cursor() as cursor:
        cursor.execute(f"{insert} SELECT {', '.join(values.values())} FROM {sql.numbers(count)}", [])  # noqa: S608


def _count(sql: _Sql) -> None:
    """What a database that has been in use knows by itself."""
    if sql.count:
        with connection.cursor() as cursor:
            cursor.execute(sql.count)
