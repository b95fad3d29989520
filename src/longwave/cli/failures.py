"""Errors as people read them: one sentence, one line a problem, and what to do next."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import typer

from longwave import config
from longwave.core.errors import InvalidInput, LongwaveError, Problem
from longwave.logs import scrub

FAILED = 1
BAD_INPUT = 2

_DATABASE_REMEDIES = (
    # (words of the database, what it means, what to do). The first match counts.
    (("not currently accepting", "starting up", "shutting down", "too many clients", "too many connections",
      "connection slots"),
     "the database takes no connection now", "try again in a moment"),
    (('fatal: database "', "unknown database"),
     "the server has no such database", "create it, or correct LONGWAVE_DATABASE_URL"),
    (("password authentication", "access denied", 'fatal: role "'),
     "the database refuses the user or password", "correct LONGWAVE_DATABASE_URL"),
    (("permission denied for", "command denied"),
     "the database does not let this user do that",
     "let the user own the database, or grant it the rights; LONGWAVE_DATABASE_URL says who it is"),
    (("no such table", "no such column", "does not exist", "doesn't exist", "unknown column", "has no column"),
     "the database lacks a table or column", "run `longwave migrate`"),
    (("locked", "lock wait timeout", "deadlock"),
     "the database is busy with another process's transaction", "try again in a moment"),
    (("unable to open database file", "readonly database", "permission denied"),
     "the database file cannot be opened for writing",
     "see that its folder exists and is yours (LONGWAVE_HOME, LONGWAVE_DATABASE_URL)"),
    (("disk is full", "no space left", "disk i/o error"),
     "the disk is full or failing", "free some space, then try again"),
)  # fmt: skip


def report(error: Exception, *, as_json: bool = False) -> int:
    """Print `error` on stderr, as a JSON object for scripts, and return the exit code."""
    if is_usage(error):
        error = _as_bad_input(error) or error
    message, problems = _explain(error)
    if as_json:
        document = {"error": message, "problems": problems}
        print(json.dumps(document, default=str, ensure_ascii=False), file=sys.stderr)
    elif isinstance(error, InvalidInput):
        for problem in error.problems:
            print(scrub(f"Error: {problem}"), file=sys.stderr)
    elif message:
        print(f"Error: {message}", file=sys.stderr)
    return BAD_INPUT if isinstance(error, InvalidInput) or is_usage(error) else FAILED


def is_usage(error: Exception) -> bool:
    """Whether the command line itself was wrong. By its method: typer keeps its click classes to itself."""
    return hasattr(error, "format_message")


def _explain(error: Exception) -> tuple[str, list[dict[str, Any]]]:
    if isinstance(error, InvalidInput):
        fields = [
            {"field": problem.field, "value": scrub(str(problem.value)), "remedy": scrub(problem.remedy)}
            for problem in error.problems
        ]
        return scrub(str(error)), fields
    if isinstance(error, LongwaveError):
        return scrub(str(error)), []
    if is_usage(error):
        return _usage_sentence(error), []
    if isinstance(error, typer.Abort):
        return "Aborted.", []
    return scrub(_database_sentence(error) or _unexpected(error)), []


def _as_bad_input(error: Any) -> InvalidInput | None:
    """A value that its option or argument could not be made of, told as any other that is refused."""
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    options = getattr(getattr(error, "param", None), "opts", ())
    if not found or not options:
        return None
    remedy = found[0]["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return InvalidInput(
        Problem(max(options, key=len), found[0]["input"], remedy.split(", unable to parse")[0])
    )


def _usage_sentence(error: Any) -> str:
    """With where to look. Empty where no command was named: its help has been shown instead."""
    said, context = scrub(error.format_message()), getattr(error, "ctx", None)
    if context is None or not said:
        return said
    told = f"{said} " if said.endswith("?") else f"{said.rstrip('.')}; "
    return f"{told}`{context.command_path} --help` tells what there is."


def _database_sentence(error: Exception) -> str | None:
    if "django.db" not in sys.modules:  # then it cannot be one of its errors
        return None
    from django.core.exceptions import ImproperlyConfigured
    from django.db import Error, InterfaceError, OperationalError

    said = " ".join(str(error).split())
    if isinstance(error, ImproperlyConfigured) and "Error loading" in said:
        from longwave import database

        told = said if said.endswith("?") else f"{said.rstrip('.')}."
        return f"{told} Install the driver: `{database.how_to_install_driver(error)}`."
    if not isinstance(error, Error):
        return None
    for words, meaning, remedy in _DATABASE_REMEDIES:
        if any(word in said.lower() for word in words):
            return f"{meaning} ({said}); {remedy}."
    if isinstance(error, OperationalError | InterfaceError):
        return (
            f"the database cannot be reached ({said}); check LONGWAVE_DATABASE_URL and that its server runs."
        )
    return None


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return _file_sentence(error)
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"unexpected: {said}. Set LONGWAVE_LOG_LEVEL=DEBUG to see where, and please report it."


def _file_sentence(error: OSError) -> str:
    if not error.filename:
        return str(error.strerror)
    said = f"{error.strerror} ({error.filename})"
    home = config.data_folder()
    path = Path(os.fsdecode(error.filename)).absolute()
    if path == home or home in path.parents or path in home.parents:
        return f"the data folder cannot be used: {said}. Set LONGWAVE_HOME to a folder that you may write to."
    return said
