"""SQL of contacts that is hot or differs between databases."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, F, Func
from django.db.models.sql.compiler import SQLCompiler

from longwave.database import dialect

_SQLITE = {
    "path": '$."{}"',
    "type": "JSON_TYPE({col}, {path})",
    "any": "<> 'null'",
    "text": ("= 'text'", "JSON_EXTRACT({col}, {path})", "%s"),
    # Both sides go through SQLite's own reading of digits, which may differ from Python's in the last bit.
    "number": ("IN ('integer', 'real')", "JSON_EXTRACT({col}, {path})", "CAST(%s AS REAL)"),
    "boolean": ("IN ('true', 'false')", "JSON_TYPE({col}, {path})", "%s"),
}
_POSTGRESQL = {
    "path": "{}",
    "type": "JSONB_TYPEOF({col} -> CAST({path} AS text))",
    "any": "<> 'null'",
    # "C": by code point, whatever order the database was created with.
    "text": ("= 'string'", '({col} ->> CAST({path} AS text)) COLLATE "C"', "CAST(%s AS text)"),
    "number": ("= 'number'", "CAST({col} ->> CAST({path} AS text) AS numeric)", "CAST(%s AS numeric)"),
    "boolean": ("= 'boolean'", "({col} ->> CAST({path} AS text))", "CAST(%s AS text)"),
}
_MYSQL_TEXT = "CAST(JSON_UNQUOTE(JSON_EXTRACT({col}, {path})) AS BINARY)"
_MYSQL = {
    "path": '$."{}"',
    "type": "JSON_TYPE(JSON_EXTRACT({col}, {path}))",
    "any": "<> 'NULL'",
    "text": ("= 'STRING'", _MYSQL_TEXT, "CAST(%s AS BINARY)"),
    "number": (
        "IN ('INTEGER', 'UNSIGNED INTEGER', 'DOUBLE', 'DECIMAL')",
        "CAST(JSON_UNQUOTE(JSON_EXTRACT({col}, {path})) AS DOUBLE)",
        "CAST(%s AS DOUBLE)",
    ),
    "boolean": ("= 'BOOLEAN'", _MYSQL_TEXT, "CAST(%s AS BINARY)"),
}
_JSON: dict[str, dict[str, Any]] = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL, "mysql": _MYSQL}
_SIGNS = {"greater": ">", "at_least": ">=", "less": "<", "at_most": "<="}


class AttributeTest(Func):
    """A condition on one attribute. Never NULL, so that NOT is its exact opposite.

    key: the attribute. kind: what its value must be to be compared at all: text, number, boolean, any.
    operator: exists, in, contains, starts_with, greater, at_least, less, at_most. values: what it is compared
    with.
    """

    output_field = BooleanField()

    def __init__(self, key: str, kind: str, operator: str, values: tuple[Any, ...]) -> None:
        super().__init__(F("attributes"))
        self.key, self.kind, self.operator, self.values = key, kind, operator, values

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_args: Any, **_extra: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """The condition as SQL with its parameters. CASE keeps a cast from meeting what it cannot read."""
        words = _JSON[connection.vendor]
        column, _ = compiler.compile(self.source_expressions[0])
        if self.kind == "any":
            template, given = f"{words['type']} {words['any']}", []
            sql = f"CASE WHEN {template} THEN TRUE ELSE FALSE END"
        else:
            is_kind, value, literal = words[self.kind]
            given = [_literal(item) for item in self.values]
            comparison = _comparison(connection.vendor, self.operator, value, literal, len(given))
            sql = f"CASE WHEN {words['type']} {is_kind} THEN {comparison} ELSE FALSE END"
        path = words["path"].format(self.key)
        return sql.format(col=column, path="%s"), (*[path] * sql.count("{path}"), *given)


def _comparison(vendor: str, operator: str, value: str, literal: str, count: int) -> str:
    if operator == "in":
        return f"{value} IN ({', '.join([literal] * count)})"
    if operator in _SIGNS:
        return f"{value} {_SIGNS[operator]} {literal}"
    position = "STRPOS" if vendor == "postgresql" else "INSTR"
    return f"{position}({value}, {literal}) {'> 0' if operator == 'contains' else '= 1'}"


def _literal(value: Any) -> str:
    """Every value travels as text: the database then reads a number just as it reads the stored one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


@dataclass(frozen=True, slots=True)
class Known:
    """A contact the database has already, as an import needs to know it."""

    status: str
    language: str
    timezone: str
    attributes: dict[str, Any]
    is_on_list: bool


Row = tuple[str, str, str, str]
"""A contact to be: address, language, time zone (empty: not given), attributes as JSON text."""

_COLUMNS = "(channel, address, status, status_reason, language, timezone, attributes, first_seen, last_seen)"
_BY_ADDRESS = {
    "sqlite": """longwave_contact AS c
        WHERE c.channel = %s AND c.address IN (SELECT value FROM JSON_EACH(%s))""",
    # LIMIT makes it look up each address in the index. Left to itself, and while it has no statistics of a table
    # that was just filled, PostgreSQL reads all contacts of the channel for every chunk.
    "postgresql": """(VALUES (CAST(%s AS text))) AS given (channel),
        UNNEST(CAST(%s AS text[])) AS wanted (address),
        LATERAL (SELECT * FROM longwave_contact
                 WHERE channel = given.channel AND address = wanted.address LIMIT 1) AS c""",
    "mysql": "longwave_contact AS c WHERE c.channel = %s AND c.address IN %s",
}
_BY_ID = {
    "sqlite": "longwave_contact AS c WHERE c.id IN (SELECT value FROM JSON_EACH(%s))",
    "postgresql": "longwave_contact AS c WHERE c.id = ANY(%s)",
    "mysql": "longwave_contact AS c WHERE c.id IN %s",
}
_KNOWN = """
    SELECT c.address, c.status, c.language, c.timezone, c.attributes,
           (SELECT m.id FROM longwave_membership m WHERE m.contact_list_id = %s AND m.contact_id = c.id) IS NOT NULL
    FROM {contacts}
"""
_UPSERT = {
    "sqlite": """
        INSERT INTO longwave_contact {columns}
        VALUES (%s, %s, 'active', '', %s, %s, %s,
                STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now'), STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now'))
        ON CONFLICT (channel, address) DO UPDATE SET
            language = IIF(excluded.language <> '', excluded.language, language),
            timezone = IIF(excluded.timezone <> '', excluded.timezone, timezone),
            attributes = JSON_PATCH(attributes, excluded.attributes)
    """,
    "postgresql": """
        INSERT INTO longwave_contact AS c {columns}
        SELECT %s, new.address, 'active', '', new.language, new.timezone, CAST(new.attributes AS jsonb),
               STATEMENT_TIMESTAMP(), STATEMENT_TIMESTAMP()
        FROM UNNEST(CAST(%s AS text[]), CAST(%s AS text[]), CAST(%s AS text[]), CAST(%s AS text[]))
             AS new (address, language, timezone, attributes)
        ON CONFLICT (channel, address) DO UPDATE SET
            language = CASE WHEN excluded.language <> '' THEN excluded.language ELSE c.language END,
            timezone = CASE WHEN excluded.timezone <> '' THEN excluded.timezone ELSE c.timezone END,
            attributes = c.attributes || excluded.attributes
    """,
    "mysql": """
        INSERT INTO longwave_contact {columns} VALUES {rows}
        ON DUPLICATE KEY UPDATE
            language = IF(VALUES(language) <> '', VALUES(language), language),
            timezone = IF(VALUES(timezone) <> '', VALUES(timezone), timezone),
            attributes = JSON_MERGE_PATCH(attributes, VALUES(attributes))
    """,
}
_MYSQL_ROW = "(%s, %s, 'active', '', %s, %s, %s, NOW(6), NOW(6))"
_JOIN = {
    "sqlite": "INSERT INTO {members} ON CONFLICT DO NOTHING",
    "postgresql": "INSERT INTO {members} ON CONFLICT DO NOTHING",
    "mysql": "INSERT IGNORE INTO {members}",
}
_MEMBERS = "longwave_membership (contact_list_id, contact_id) SELECT %s, c.id FROM {contacts}"


def known(channel: str, addresses: Sequence[str], list_id: int | None) -> dict[str, Known]:
    """Those of the addresses that are contacts already."""
    name = dialect()
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN.format(contacts=_BY_ADDRESS[name]), [list_id, channel, _array(name, addresses)])
        return {
            address: Known(status, language, timezone, json.loads(attributes), bool(is_on_list))
            for address, status, language, timezone, attributes, is_on_list in cursor.fetchall()
        }


def upsert(channel: str, rows: Sequence[Row]) -> None:
    """Write contacts: new ones as active; of those there are, language, time zone and attributes are merged.

    Rows should come in order of address: writers that lock the same rows then wait in turn, without deadlock.
    """
    if not rows:
        return
    name = dialect()
    sql = _UPSERT[name]
    with connection.cursor() as cursor:
        if name == "sqlite":
            cursor.executemany(sql.format(columns=_COLUMNS), [(channel, *row) for row in rows])
        elif name == "postgresql":
            cursor.execute(sql.format(columns=_COLUMNS), [channel, *map(list, zip(*rows, strict=True))])
        else:
            sql = sql.format(columns=_COLUMNS, rows=", ".join([_MYSQL_ROW] * len(rows)))
            cursor.execute(sql, [value for row in rows for value in (channel, *row)])


def join_list_by_address(list_id: int, channel: str, addresses: Sequence[str]) -> int:
    """Put the contacts of these addresses on the list. Returns how many were not on it."""
    if not addresses:
        return 0
    name = dialect()
    return _join(name, _BY_ADDRESS[name], [list_id, channel, _array(name, addresses)])


def join_list(list_id: int, contact_ids: Sequence[int]) -> int:
    """Put contacts on the list. Returns how many were not on it."""
    if not contact_ids:
        return 0
    name = dialect()
    return _join(name, _BY_ID[name], [list_id, _array(name, contact_ids)])


def _join(name: str, contacts: str, parameters: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_JOIN[name].format(members=_MEMBERS.format(contacts=contacts)), parameters)
        return max(int(cursor.rowcount), 0)


def _array(name: str, items: Sequence[str] | Sequence[int]) -> Any:
    """The items as one parameter."""
    if name == "sqlite":
        return json.dumps(items)
    return list(items) if name == "postgresql" else tuple(items)
