"""How a database means to carry out the statements that a piece of code runs, and what is wrong with that."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from longwave import database

MANY = 2000
"""Rows that a statement may sort, at the most."""

TABLE = "longwave_job"


def complaints(act: Callable[[], Any], *, sorts_few: bool = False, by_id: bool = False) -> list[str]:
    """The statements of `act` that read the whole table of jobs, or sort many of them. Nothing of what it does is kept.

    sorts_few: what it sorts are few by their nature; SQLite does not say how many it expects. by_id: it knows its jobs,
    and must not look for them among all of their status.
    """
    look = {"sqlite": _of_sqlite, "postgresql": _of_postgresql, "mysql": _of_mysql}[database.dialect()]
    found = []
    for sql, params in _statements(act):
        wrong = [word for word in look(sql, params) if not (sorts_few and word.startswith("sorts"))]
        # PostgreSQL counts: of a status that few have it may well take these, and of another it names the key too.
        if by_id and database.dialect() != "postgresql":
            wrong += [f"looks for it by {index}" for index in _BY_STATUS if index in _told(sql, params)]
        found += [f"{word}: {sql}" for word in wrong]
    return found


def are_found_by_id(act: Callable[[], Any]) -> bool:
    """Whether PostgreSQL finds the jobs of every statement of `act` by the primary key."""
    return all("longwave_job_pkey" in _told(sql, params) for sql, params in _statements(act))


_BY_STATUS = ("lw_job_line", "lw_job_ready", "lw_job_due", "lw_job_prune")


def _told(sql: str, params: Any) -> str:
    how = "EXPLAIN QUERY PLAN" if database.dialect() == "sqlite" else "EXPLAIN"
    # What MySQL could have taken is not what it takes.
    rows = [
        {name: value for name, value in row.items() if name != "possible_keys"}
        for row in _explain(how, sql, params)
    ]
    return str(rows)


def _statements(act: Callable[[], Any]) -> list[tuple[str, Any]]:
    seen: dict[str, Any] = {}

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if TABLE in sql:
            seen.setdefault(sql, params)
        return execute(sql, params, many, context)

    with _undone(), connection.execute_wrapper(note):
        act()
    return list(seen.items())


@contextmanager
def _undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _of_sqlite(sql: str, params: Any) -> Iterator[str]:
    for row in _explain("EXPLAIN QUERY PLAN", sql, params):
        if row["detail"].startswith(f"SCAN {TABLE}") or "ANY(" in row["detail"]:
            yield f"reads all ({row['detail']})"
        if "TEMP B-TREE FOR ORDER BY" in row["detail"]:
            yield "sorts"


def _of_postgresql(sql: str, params: Any) -> Iterator[str]:
    (row,) = _explain("EXPLAIN (FORMAT JSON)", sql, params)
    (told,) = row.values()
    plan = told if isinstance(told, list) else json.loads(told)
    for node in _nodes(plan[0]["Plan"]):
        if "Seq Scan" in node["Node Type"] and node["Relation Name"] == TABLE:
            yield "reads all (Seq Scan)"
        if node["Node Type"] == "Sort" and (rows := node["Plans"][0]["Plan Rows"]) > MANY:
            yield f"sorts {rows}"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _of_mysql(sql: str, params: Any) -> Iterator[str]:
    for row in _explain("EXPLAIN", sql, params):
        rows = int(row["rows"] or 0)  # none of an INSERT
        if row["type"] in ("ALL", "index") and rows > MANY:
            yield f"reads all ({row['table']}, {row['key']}, {rows} rows)"
        if "filesort" in (row["Extra"] or "") and rows > MANY:
            yield f"sorts {rows}"


def _explain(how: str, sql: str, params: Any) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"{how} {sql}", params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
