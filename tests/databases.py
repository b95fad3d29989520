"""The three databases for tests: made once a session, emptied before each test.

A database that cannot be reached is skipped, unless REQUIRE_SERVICES is set, as CI does: then it is a failure.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections

from longwave import database
from tests import folders

NAMES = ("sqlite", "postgresql", "mariadb")
SERVERS = {
    "postgresql": os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test"),
}


@contextmanager
def empty(kind: str) -> Iterator[str]:
    """Point Django's default connection at an empty, migrated database of this kind."""
    url = _prepared(kind)
    _point_default_at(url)
    _delete_all_rows()
    try:
        yield url
    finally:
        connections.close_all()


@contextmanager
def at(url: str) -> Iterator[str]:
    """As `empty`, for a database that a test has for itself alone."""
    _point_default_at(url)
    call_command("migrate", verbosity=0)
    try:
        yield url
    finally:
        connections.close_all()


def fresh(kind: str, name: str) -> str:
    """Create an empty, unmigrated database called `name` and return its URL: for tests that start processes."""
    if kind == "sqlite":
        return f"sqlite:///{folders.lasting()}/{name}.db"
    server = SERVERS[kind]
    _point_default_at(server)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"CREATE DATABASE {name}")
    except Exception as error:
        missing(f"{kind} at {server} cannot be used: {error}")
    finally:
        connections.close_all()
    return server.rsplit("/", 1)[0] + "/" + name


@contextmanager
def pointed_at(url: str) -> Iterator[None]:
    """Look into the database of a running installation."""
    _point_default_at(url)
    try:
        yield
    finally:
        connections.close_all()


def drop(url: str) -> None:
    """Drop a database made by `fresh`, whoever is still connected to it."""
    kind = "mariadb" if url.startswith("mysql") else "postgresql"
    name = url.rsplit("/", 1)[1]
    _point_default_at(SERVERS[kind])
    with connection.cursor() as cursor:
        force = " WITH (FORCE)" if kind == "postgresql" else ""
        cursor.execute(f"DROP DATABASE IF EXISTS {name}{force}")
    connections.close_all()


def missing(reason: str) -> None:
    """Skip for want of a service; fail where services are required."""
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@cache
def _prepared(kind: str) -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = fresh(kind, f"longwave_test_{worker}")
    _point_default_at(url)
    call_command("migrate", verbosity=0)
    return url


def _point_default_at(url: str) -> None:
    connections.close_all()
    connections.settings["default"] = connections.configure_settings({"default": database.settings(url)})[
        "default"
    ]
    if hasattr(connections._connections, "default"):
        del connections["default"]


def _delete_all_rows() -> None:
    order = [model._meta.db_table for model in apps.get_models()]
    with connection.cursor() as cursor:
        for table in reversed(order):
            cursor.execute(f"DELETE FROM {table}")


def folder_of(url: str) -> Path:
    """The folder of a SQLite database's file."""
    return Path(url.removeprefix("sqlite:///")).parent
