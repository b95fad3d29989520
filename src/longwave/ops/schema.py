"""Whether the database has its tables; SQLite's are made on the spot, a production database's never."""

import fcntl
import math
from pathlib import Path

import structlog
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from longwave import database
from longwave.core.errors import Conflict

log = structlog.get_logger("longwave.ops")

ASK_EVERY = 1.0


def pending() -> list[str]:
    """Migrations that this version brings and the database lacks, in order, as `app.name`."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def migrate() -> list[str]:
    """Apply what is pending, and say what that was."""
    if connection.vendor != "sqlite":
        return _apply()
    file = Path(str(connection.settings_dict["NAME"]))
    file.parent.mkdir(parents=True, exist_ok=True)
    # Of two first commands at the same time, the second waits and finds nothing left to do.
    with file.with_suffix(".migrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _apply()


def ensure() -> None:
    """Return when the database has every table; Conflict when a person has to run `longwave migrate`."""
    missing = pending()
    if missing and connection.vendor != "sqlite":
        raise Conflict(
            f"The database lacks {len(missing)} migrations, {missing[0]} first; run `longwave migrate`."
        )
    if missing:
        migrate()


def ensure_when_back() -> None:
    """As `ensure`, however long the database is away: for a process that goes on with what it did."""
    try:
        ensure()
    except (OperationalError, InterfaceError) as error:
        if not database.is_passing(error):
            raise
        log.warning("database_away", why=str(error), then="it tries again until the database answers")
        database.persist(ensure, give_up_after=math.inf, pause=ASK_EVERY)


def _apply() -> list[str]:
    missing = pending()
    if missing:
        call_command("migrate", interactive=False, verbosity=0)
    return missing
