"""`longwave autoscale`: what is asked for, and which workers that means."""

import json

import pytest
import typer
from django.utils import timezone
from typer.testing import CliRunner

from longwave.cli import autoscale
from longwave.cli.autoscale import Wish, groups_of
from longwave.core.errors import InvalidInput
from longwave.core.scaling import Limits
from longwave.jobs.profiles import PROFILES
from longwave.ops.models import Scaling, ScalingDecision
from longwave.ops.scaling.load import Group

_app = typer.Typer()
_app.command()(autoscale.autoscale)
FILES = Group("files", PROFILES["files"].queues, 2, Limits(1, 4))
SEND = Group("send", (*PROFILES["send"].queues, "email.eu"), 20, Limits(1, 4))


# --- what was asked for -----------------------------------------------------------------------------------------------


def test_unless_told_otherwise_all_groups_have_one_to_four() -> None:
    groups = groups_of(Wish(), cores=2)
    assert [group.name for group in groups] == ["import", "send", "files", "bots"]
    assert {group.limits for group in groups} == {Limits(1, 4, 30, 180)}
    assert [group.concurrency for group in groups] == [2, 20, 2, 2]


def test_an_option_is_for_all_groups_or_for_the_one_it_names() -> None:
    wish = Wish(
        groups=["files", "bots"],
        minimum=["files=0"],
        maximum=["files=8", "3"],
        target_wait=["60", "bots=5"],
        concurrency=["bots=6"],
        cool_down=10,
    )
    files, bots = groups_of(wish, cores=4)
    assert (files.limits, bots.limits) == (Limits(0, 8, 60, 10), Limits(1, 3, 5, 10))
    assert (files.concurrency, bots.concurrency) == (4, 6)


def test_regions_belong_to_the_groups_that_send() -> None:
    send, files = groups_of(Wish(["send", "files"], regional=["broadcast.eu", "email.eu"]), cores=2)
    assert send.queues == ("campaigns", "broadcast", "email", "broadcast.eu", "email.eu")
    assert files.queues == PROFILES["files"].queues


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        (Wish(["mail"]), "--group = 'mail': must be one of all, import"),
        (Wish(["all", "send"]), "has the queues of every other group"),
        (Wish(["files"], minimum=["bots=2"]), "--min = 'bots=2': must be for one of files"),
        (Wish(minimum=["-1"]), "--min = '-1': must be a whole number from 0 to 1,000"),
        (Wish(maximum=["0"]), "--max = '0': must be a whole number from 1 to 1,000"),
        (Wish(maximum=["files=many"]), "--max = 'files=many': must be a whole number"),
        (Wish(maximum=["files="]), "--max = 'files=': must be a whole number"),
        (Wish(target_wait=["0"]), "--target-wait = '0': must be a number of seconds above 0"),
        (Wish(target_wait=["nan"]), "--target-wait = 'nan': must be a number of seconds above 0"),
        (Wish(concurrency=["1.5"]), "--concurrency = '1.5': must be a whole number"),
        (Wish(minimum=["files=5"]), "--min of files = 5: is more than the most, 4"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(wish: Wish, complaint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        groups_of(wish, cores=2)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("option", ["--every", "--cool-down"])
@pytest.mark.parametrize("seconds", ["inf", "1e+12"])
def test_seconds_come_to_an_end(option: str, seconds: str) -> None:
    result = CliRunner().invoke(_app, [option, seconds])
    assert isinstance(result.exception, InvalidInput)
    assert f"{option} = {float(seconds)}: must be a number of seconds, and a day" in str(result.exception)


@pytest.mark.parametrize("words", [["--json"], ["--json", "--publish-only"]])
def test_json_is_refused_where_there_is_none(words: list[str]) -> None:
    result = CliRunner().invoke(_app, words)
    assert isinstance(result.exception, InvalidInput)
    assert "--json = True: goes with --dry-run or --history" in str(result.exception)


def test_a_dry_run_says_what_would_be_and_changes_nothing(sqlite: str) -> None:
    result = CliRunner().invoke(_app, ["--group", "files", "--max", "3", "--dry-run", "--json"])
    assert result.exit_code == 0
    (told,) = json.loads(result.stdout)
    assert (told["group"], told["before"], told["desired"], told["min"], told["max"]) == ("files", 1, 1, 1, 3)
    assert told["reason"] == "nothing runs or waits; 1 is the minimum"
    heading, line, *_ = CliRunner().invoke(_app, ["--group", "files", "--dry-run"]).stdout.splitlines()
    assert heading.split() == ["Group", "before", "desired", "because"]
    assert line.split()[:4] == ["files", "1", "1", "nothing"]
    assert not Scaling.objects.exists()


def test_the_latest_changes_are_shown_with_their_reasons(sqlite: str) -> None:
    assert "Nothing has changed yet" in CliRunner().invoke(_app, ["--history"]).stdout
    for number in range(30):
        ScalingDecision.objects.create(
            group="files", at=timezone.now(), before=number, desired=number + 1, reason=f"reason {number}"
        )
    ScalingDecision.objects.create(group="bots", at=timezone.now(), before=2, desired=1, reason="calm")
    told = json.loads(CliRunner().invoke(_app, ["--group", "files", "--history", "--json"]).stdout)
    assert [(one["before"], one["desired"]) for one in told[:2]] == [(29, 30), (28, 29)]
    assert len(told) == 20
    (line,) = [line for line in CliRunner().invoke(_app, ["--history"]).stdout.splitlines() if "calm" in line]
    assert line.split()[2:6] == ["UTC", "bots", "2", "1"]


# --- its workers ------------------------------------------------------------------------------------------------------


def test_a_worker_is_started_with_what_was_reckoned_with() -> None:
    words = autoscale._child(SEND, "auto-send-1", ["broadcast.eu", "email.eu"]).command
    given = words[words.index("worker") :]
    assert given == [
        "worker", "--profile", "send", "--concurrency", "20", "--name", "auto-send-1", "--grace", "1800",
        "--metrics", "shared", "--region", "eu",
    ]  # fmt: skip
    assert "--region" not in autoscale._child(FILES, "auto-files-1", ["email.eu"]).command
