"""What the code must know about the database below: its dialect, its clock, and which of its errors pass.

Statements that are hot or differ between databases live in each room's `ledger.py`; nothing else asks for
the dialect.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import dj_database_url
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet

T = TypeVar("T")
Dialect = Literal["sqlite", "postgresql", "mysql"]

DRIVERS = {"psycopg": "psycopg[binary]>=3.2", "MySQLdb": "mysqlclient>=2.2.7"}
"""What Django calls the drivers that it misses, and what brings them. Only a checkout can name the extras."""

BUSY_TIMEOUT = 20.0
"""Seconds a SQLite writer waits for another's transaction. Ours are milliseconds long."""


def how_to_install_driver(error: Exception) -> str:
    """The command for the driver that this ImproperlyConfigured of Django's misses."""
    wanted = [package for name, package in DRIVERS.items() if name in str(error)] or DRIVERS.values()
    return " or ".join(f'pip install "{package}"' for package in wanted)


def settings(url: str) -> dict[str, Any]:
    """Django's DATABASES entry for `url`, with what Longwave needs of each engine."""
    if url.startswith("mariadb:"):
        url = "mysql" + url.removeprefix("mariadb")
    entry: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=None, conn_health_checks=True))
    options = entry.setdefault("OPTIONS", {})
    match urlsplit(url).scheme:
        case "sqlite":
            options |= {
                "timeout": BUSY_TIMEOUT,
                "transaction_mode": "IMMEDIATE",
                # FULL, not NORMAL: what was acknowledged must survive a power cut, not only a kill.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-4000",
            }
        case "mysql":
            options.setdefault("charset", "utf8mb4")
            options["isolation_level"] = "read committed"
            # The database's own clock is compared with stored UTC times.
            options["init_command"] = "SET time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES'"
            if socket := parse_qs(urlsplit(url).query).get("unix_socket"):
                options["unix_socket"] = socket[0]
    return entry


def dialect() -> Dialect:
    """Which SQL the default connection speaks. MariaDB speaks mysql."""
    match connection.vendor:
        case "sqlite" | "postgresql" | "mysql" as known:
            return known
        case other:
            raise OperationalError(f"{other} is not supported; use SQLite, PostgreSQL, MySQL or MariaDB")


NOW_SQL = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')",
    "postgresql": "clock_timestamp()",
    "mysql": "UTC_TIMESTAMP(6)",
}
"""The database's clock as a timestamp, for statements with parameters."""

IN_SECONDS_SQL = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '+' || {} || ' seconds')",
    "postgresql": "clock_timestamp() + {} * interval '1 second'",
    "mysql": "TIMESTAMPADD(MICROSECOND, {} * 1000000, UTC_TIMESTAMP(6))",
}
"""The same, later by a number of seconds: a column or a parameter in place of the braces."""

_CLOCK_SQL = {
    "postgresql": "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    # SYSDATE, not NOW: NOW stands still for the whole statement, also while it waits for a lock.
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
}


def clock_us() -> int:
    """The database's clock, in microseconds since 1970. SQLite has none of its own: it is the host's."""
    name = dialect()
    if name == "sqlite":
        return time.time_ns() // 1000
    with connection.cursor() as cursor:
        cursor.execute(_CLOCK_SQL[name])
        return int(cursor.fetchone()[0])


def now() -> datetime:
    """The same as a moment: what stamps of the ledger are compared with, as the clocks of machines differ."""
    return datetime.fromtimestamp(clock_us() / 1_000_000, UTC)


def unlocked(rows: QuerySet[Any]) -> list[int]:
    """The ids of those rows that no other transaction has locked, without waiting for one; all, where there are no such
    locks. In a transaction of the caller's they are locked by that one then.
    """
    ids = rows.values_list("pk", flat=True)
    if not connection.features.has_select_for_update_skip_locked:
        return list(ids)
    with transaction.atomic():
        return list(ids.select_for_update(skip_locked=True))


_PASSING = (
    "database is locked",
    "deadlock",  # PostgreSQL 40P01, MySQL 1213
    "lock wait timeout",  # MySQL 1205
    "could not serialize",
    "server closed the connection",
    "connection",  # refused, reset, lost, terminated, already closed: all of them name it
    "gone away",  # MySQL 2006
    "shutdown",
    "starting up",
    "recovery mode",
    "can't connect",
    # Until somebody makes room, which is as good as away. SQLite, and InnoDB's 1114; MySQL's 1021; PostgreSQL.
    "is full",
    "disk full",
    "no space left",
)


def is_passing(error: BaseException) -> bool:
    """Whether trying the same transaction again, later and perhaps on a new connection, can succeed."""
    if isinstance(error, InterfaceError):
        return True
    return isinstance(error, OperationalError) and any(word in str(error).lower() for word in _PASSING)


_ROLLED_BACK = ("database is locked", "deadlock", "lock wait timeout", "could not serialize")


def was_rolled_back(error: BaseException) -> bool:
    """Whether the database says that nothing of the transaction was kept: another's locks were in its way."""
    return isinstance(error, OperationalError) and any(word in str(error).lower() for word in _ROLLED_BACK)


LOCK_PATIENCE = 10.0
"""Seconds that what met others at the same rows is tried again."""


def untangled(work: Callable[[], T]) -> T:
    """Run it again when the database gave it up for another's locks. In a transaction of the caller's, that is his."""
    if connection.in_atomic_block:
        return work()
    return persist(work, give_up_after=LOCK_PATIENCE, when=was_rolled_back)


def persist(
    work: Callable[[], T],
    *,
    give_up_after: float,
    pause: float = 0.2,
    when: Callable[[BaseException], bool] = is_passing,
) -> T:
    """Run one transaction, again and again for `give_up_after` seconds while its errors are passing ones.

    `work` must be safe to repeat: a commit whose answer was lost is run twice. `when=was_rolled_back` repeats only what
    surely was not kept.
    """
    deadline = time.monotonic() + give_up_after
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            if not when(error) or time.monotonic() >= deadline:
                raise
            if was_rolled_back(error):
                time.sleep(pause * random.random() / 4)  # not all that met here at the same moment again
                continue
            connection.close()
            time.sleep(pause)
