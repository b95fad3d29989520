"""Schedules: what is submitted by itself, and when; and the chores of the beat."""

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from longwave.cli import tables, words
from longwave.cli.answers import AsJson, answer
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import chores, declare, rooms, schedules
from longwave.jobs.rhythm import CatchUp
from longwave.jobs.schedules import Line

app = typer.Typer(no_args_is_help=True, help="What is submitted by itself, and when.")

OPTIONS = {
    "every": "--every",
    "cron": "--cron",
    "timezone": "--timezone",
    "catch_up": "--catch-up",
}
"""How what code calls by these names is given here."""

Name = Annotated[str, typer.Argument(help="The schedule's name.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every schedule with its next and last run; below them the chores of the beat, which cannot be paused."""
    rooms.load()
    lines = schedules.all_lines()
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines], default=words.for_scripts))
        return
    own = [line for line in lines if line.kind == "schedule"]
    tables.show(_schedules(own) if own else "No schedules. `longwave schedule add` makes one.")
    typer.echo()
    tables.show(_chores([line for line in lines if line.kind == "chore"]))


@app.command()
def run(name: Name, as_json: AsJson = False) -> None:
    """Submit its job now, beside its times. A chore is done here and now."""
    rooms.load()
    if found := _chore(name):
        found.function()
        answer({"chore": found.name}, as_json, f"Done: {found.name}.")
        return
    handle = schedules.run(name)
    text = f"Job {handle.id} is submitted." if handle.created else f"Job {handle.id} of it has not ended yet."
    answer({"name": name, "job_id": handle.id, "created": handle.created}, as_json, text)


@app.command()
def pause(name: Name, as_json: AsJson = False) -> None:
    """Keep none of its times, until it is resumed. Chores of Longwave's own cannot be paused."""
    rooms.load()
    text = f"{name} is paused." if schedules.pause(name) else f"{name} was paused already."
    answer({"name": name, "paused": True}, as_json, text)


@app.command()
def resume(name: Name, as_json: AsJson = False) -> None:
    """Go on with its next time. What passed meanwhile is not caught up."""
    rooms.load()
    next_at = schedules.resume(name)
    text = f"{name} goes on at {words.moment(next_at)}." if next_at else f"{name} was not paused."
    answer({"name": name, "paused": False, "next_at": next_at}, as_json, text)


@app.command()
def add(
    name: Name,
    job: Annotated[str, typer.Option(help="The job to submit, by its name.")],
    every: Annotated[float | None, typer.Option(help="Seconds between two runs.")] = None,
    cron: Annotated[str, typer.Option(help="Or: minute, hour, day, month, weekday, as in '0 3 * * *'.")] = "",
    timezone: Annotated[
        str, typer.Option(help="Whose clocks --cron is about: UTC unless given, or Europe/Berlin.")
    ] = "",
    catch_up: Annotated[
        str, typer.Option(help="Times that passed while nothing ran: skip, once or all.")
    ] = CatchUp.ONCE,
    args: Annotated[str, typer.Option(help='The job\'s arguments, as JSON: \'{"kind": "daily"}\'.')] = "{}",
    as_json: AsJson = False,
) -> None:
    """Submit a job by itself from now on."""
    rooms.load()
    given = _arguments(args)
    _check_arguments(job, given, args)
    if (every is None) == (not cron):
        remedy = "give one of the two: --every, in seconds, or --cron, as in '0 3 * * *'"
        raise InvalidInput(Problem("--every, --cron", every if every is not None else cron or None, remedy))
    try:
        first = schedules.add(
            name, job, every=every, cron=cron, timezone=timezone, catch_up=catch_up, args=given
        )
    except InvalidInput as error:
        raise InvalidInput(*(_of_option(problem) for problem in error.problems)) from None
    answer({"name": name, "next_at": first}, as_json, f"{name} runs first at {words.moment(first)}.")


@app.command()
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a schedule of the database. What it has submitted stays."""
    rooms.load()
    schedules.remove(name)
    answer({"name": name, "removed": True}, as_json, f"{name} is removed.")


def _chore(name: str) -> chores.Chore | None:
    found = chores.find(name)
    if len(found) > 1:
        remedy = "is the name of several chores; give it in full: " + ", ".join(one.name for one in found)
        raise InvalidInput(Problem("name", name, remedy))
    return found[0] if found else None


def _arguments(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidInput(Problem("--args", text, 'must be a JSON object, such as {"kind": "daily"}'))
    return given


def _check_arguments(job: str, given: dict[str, Any], text: str) -> None:
    try:
        declare.find(job).check(given)
    except InvalidInput as error:
        raise InvalidInput(*(_of_args(problem, given, text) for problem in error.problems)) from None


def _of_args(problem: Problem, given: dict[str, Any], text: str) -> Problem:
    what = problem.field if problem.field in given else f"{problem.field} is missing"
    return Problem("--args", text, f"{what}: {problem.remedy}")


def _of_option(problem: Problem) -> Problem:
    """The same, in words of the command line."""
    return replace(problem, field=OPTIONS.get(problem.field, problem.field))


def _schedules(lines: list[Line]) -> Table:
    table = tables.table("schedule", "job", "when", "missed", "next", "last", "result", "")
    for line in lines:
        next_ = "paused" if line.is_paused else words.moment(line.next_at)
        last, problem = words.moment(line.last_at), Text(line.problem, style="red")
        table.add_row(line.name, line.job, line.rhythm, line.catch_up, next_, last, _result(line), problem)
    return table


def _chores(lines: list[Line]) -> Table:
    table = tables.table("chore of the beat", "when", "last", "took", "")
    for line in lines:
        took = "–" if line.last_ms is None else f"{line.last_ms:g} ms"
        table.add_row(
            line.name, line.rhythm, words.moment(line.last_at), took, Text(line.problem, style="red")
        )
    return table


def _result(line: Line) -> str:
    if line.last_job_id is None:
        return "–"
    return f"{line.last_result or 'forgotten'} (job {line.last_job_id})"
