"""`longwave schedule …`: what an operator types, and what is said then."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from longwave.cli import schedule as commands
from longwave.core.errors import Conflict, InvalidInput, NotFound
from longwave.jobs import broker, chores, job
from longwave.jobs.models import Job, Schedule

pytestmark = pytest.mark.usefixtures("sqlite")


@job("cli_schedule.work")
def work(kind: str = "") -> None:
    """Something to submit."""


@job("cli_schedule.needy")
def needy(every: int) -> None:
    """Cannot be submitted without something, which is called as an option is."""


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(broker, "publish", lambda *_: None)
    yield
    Schedule.objects.all().delete()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(commands.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def add(*more: str) -> str:
    return run("add", "nightly", "--job", "cli_schedule.work", *more)


def test_a_schedule_is_added_listed_and_removed() -> None:
    said = add("--cron", "0 3 * * *", "--timezone", "Asia/Tokyo", "--args", '{"kind": "daily"}')
    assert said.startswith("nightly runs first at ")
    assert said.endswith("18:00:00 UTC.\n")
    line = next(line for line in run("list").splitlines() if line.startswith("nightly"))
    assert "0 3 * * * (Asia/Tokyo)" in line
    shown = {one["name"]: one for one in json.loads(run("list", "--json"))}
    assert shown["nightly"]["next_at"].endswith("T18:00:00.000+00:00")
    assert (shown["nightly"]["declared_in"], shown["nightly"]["kind"]) == ("database", "schedule")
    assert run("remove", "nightly") == "nightly is removed.\n"
    assert "No schedules." in run("list")


def test_it_is_paused_resumed_and_run_by_hand() -> None:
    add("--every", "3600", "--args", '{"kind": "daily"}')
    assert run("pause", "nightly") == "nightly is paused.\n"
    assert " paused " in run("list")
    said = json.loads(run("run", "nightly", "--json"))
    assert Job.objects.get(pk=said["job_id"]).args == {"kind": "daily"}
    assert "has not ended yet" in run("run", "nightly")
    assert run("resume", "nightly").startswith("nightly goes on at ")
    assert run("resume", "nightly") == "nightly was not paused.\n"


def test_chores_are_listed_and_can_be_run_but_not_paused() -> None:
    done: list[str] = []

    @chores.chore(every=77)
    def cli_schedule_chore() -> None:
        done.append("it")

    try:
        assert "every 77 s" in run("list")
        assert run("run", "cli_schedule_chore").startswith("Done: ")
        assert done == ["it"]
        with pytest.raises(Conflict, match="is a chore of Longwave's own"):
            run("pause", "cli_schedule_chore")
    finally:
        chores._registry.popitem()


@pytest.mark.parametrize(
    ("words", "error", "complaint"),
    [
        (("pause", "nonsense"), NotFound, "no schedule 'nonsense'"),
        (
            ("add", "x", "--job", "cli_schedule.work"),
            InvalidInput,
            "--every, --cron = None: give one of the two: --every, in seconds, or --cron",
        ),
        (("add", "x", "--job", "cli_schedule.work", "--every", "-5"), InvalidInput, "^--every = -5.0: must"),
        (("add", "x", "--job", "cli_schedule.work", "--cron", "0 3"), InvalidInput, "^--cron = '0 3': must"),
        (
            ("add", "x", "--job", "cli_schedule.work", "--every", "60", "--timezone", "UTC"),
            InvalidInput,
            "^--timezone = 'UTC': is for cron",
        ),
        (
            ("add", "x", "--job", "cli_schedule.work", "--every", "60", "--catch-up", "some"),
            InvalidInput,
            "^--catch-up = 'some': must be one of skip",
        ),
        (
            ("add", "x", "--job", "cli_schedule.needy", "--every", "60"),
            InvalidInput,
            "^--args = '{}': every is missing: cli_schedule.needy needs it; it takes every$",
        ),
        (
            ("add", "x", "--job", "cli_schedule.work", "--every", "60", "--args", '{"size": 1}'),
            InvalidInput,
            "^--args = .*: size: cli_schedule.work does not take it; it takes kind$",
        ),
        (
            ("add", "x", "--job", "cli_schedule.work", "--every", "60", "--args", "[1]"),
            InvalidInput,
            "JSON object",
        ),
        (("add", "x", "--job", "cli_schedule.wrok", "--every", "60"), NotFound, "There is no job"),
    ],
)
def test_what_was_typed_wrong_is_named(
    words: tuple[str, ...], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        run(*words)
