"""What a command finds when it is somebody's first: tables on SQLite, a sentence elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError

from longwave import cli
from longwave.core.errors import Conflict
from longwave.jobs import stop
from longwave.ops import schema
from tests import databases


def _longwave(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "src", **env}
    return subprocess.run(
        [sys.executable, "-m", "longwave", *args], env=environ, capture_output=True, text=True, timeout=60
    )


def test_a_first_command_makes_sqlite_s_tables(home: Path) -> None:
    done = _longwave("contacts", "lists", "--json", LONGWAVE_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert _longwave("migrate", LONGWAVE_HOME=str(home)).stdout == "The database is up to date.\n"


def test_two_first_commands_at_once_both_work(home: Path) -> None:
    command = [sys.executable, "-m", "longwave", "migrate"]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "src", "LONGWAVE_HOME": str(home)}
    both = [subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
    assert results == [("", 0), ("", 0)]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_production_database_is_never_migrated_by_the_way(home: Path, kind: str) -> None:
    url = databases.fresh(kind, "longwave_test_unmigrated")
    env = {"LONGWAVE_HOME": str(home), "LONGWAVE_DATABASE_URL": url}
    done = _longwave("contacts", "lists", **env)
    assert done.returncode == 1
    assert "run `longwave migrate`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Applied" in _longwave("migrate", **env).stdout
    assert _longwave("contacts", "lists", **env).returncode == 0


def test_a_database_that_is_down_is_a_sentence(home: Path) -> None:
    url = "postgresql://nobody:hunter2@127.0.0.1:1/longwave"
    done = _longwave("contacts", "lists", LONGWAVE_HOME=str(home), LONGWAVE_DATABASE_URL=url)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("came_back", [False, True])
def test_only_a_process_that_goes_on_waits_for_a_database_that_is_away(
    sqlite: str, monkeypatch: pytest.MonkeyPatch, came_back: bool
) -> None:
    answers: list[Exception | None] = [OperationalError("connection refused")] * 3 + [None]

    def ensure() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(schema, "ensure", ensure)
    monkeypatch.setattr(schema, "ASK_EVERY", 0.001)
    monkeypatch.setattr(cli, "load_django", lambda **_: None)
    if came_back:
        monkeypatch.setenv(stop.CAME_BACK, "asked_to host:1:ab.")
        cli.ready()
        assert answers == []
    else:
        with pytest.raises(OperationalError):
            cli.ready()


def test_a_migrated_database_needs_nothing(database: str) -> None:
    assert schema.pending() == []
    schema.ensure()


def test_django_s_own_commands_get_their_own_options(home: Path) -> None:
    done = _longwave("manage", "showmigrations", "--plan", LONGWAVE_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert "[ ]  longwave_jobs.0001_initial" in done.stdout
    assert (
        "usage: longwave manage check"
        in _longwave("manage", "check", "--help", LONGWAVE_HOME=str(home)).stdout
    )


def test_production_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        vendor = "postgresql"

    monkeypatch.setattr(schema, "connection", Elsewhere())
    monkeypatch.setattr(schema, "pending", lambda: ["longwave_jobs.0001_initial"])
    with pytest.raises(Conflict, match=r"longwave_jobs\.0001_initial first; run `longwave migrate`"):
        schema.ensure()
