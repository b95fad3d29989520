"""`longwave queue …` and `longwave status`: what an operator types, and what is said then."""

import getpass
import json
import socket
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import typer
from django.db.models.functions import Now
from django.utils import timezone
from typer.testing import CliRunner

from longwave import config
from longwave.cli import queue as queue_commands
from longwave.cli import status as status_command
from longwave.core.errors import InvalidInput, NotFound
from longwave.jobs import broker, pausing, presence, timeline
from longwave.jobs.models import Job, PausedQueue, Status
from longwave.jobs.spans import Span
from longwave.ops import status as overview
from longwave.ops.models import Scaling

pytestmark = pytest.mark.usefixtures("sqlite")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(queue_commands.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def a_job(**fields: Any) -> Job:
    return Job.objects.create(**{"name": "a.b", "queue": "default", **fields})


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = presence.Answer("w@host", "host", 7, ["default"], 2, 80.0)
    monkeypatch.setattr(presence, "workers", lambda: {"w@host": answer})


def test_the_list_shows_what_waits_and_what_is_paused() -> None:
    a_job()
    assert run("pause", "default", "--reason", "a new bank") == "default is paused.\n"
    told = pausing.paused()["default"]
    assert str(told).endswith(f" by {getpass.getuser()}@{socket.gethostname()}: a new bank")
    assert run("pause", "default") == f"default was paused already: {told}.\n"
    line = next(line for line in run("list").splitlines() if line.split()[0] == "default")
    assert line.split()[:4] == ["default", "0", "1", "0"]
    assert line.endswith(str(told))
    shown = {row["queue"]: row for row in json.loads(run("list", "--json"))}
    at = told.at.isoformat(timespec="milliseconds")
    assert shown["default"].pop("pause") == {"at": at, "by": told.by, "reason": "a new bank"}
    assert shown["email"]["pause"] is None
    assert shown["default"] | {"oldest_wait": 0} == {
        "queue": "default",
        "priority": 0,
        "ready": 1,
        "running": 0,
        "scheduled": 0,
        "retrying": 0,
        "oldest_wait": 0,
        "is_paused": True,
    }


def test_jobs_are_listed_in_any_state(workers: None) -> None:
    waits = a_job(serial_key="shop")
    runs = a_job(status=Status.RUNNING, started_at=Now(), progress={"done": 3, "total": 10, "note": "rows"})
    retried = a_job(status=Status.RETRY, error="OSError: no\nmore", run_at=Now() + timedelta(hours=2))
    ended = a_job(status=Status.CANCELLED, finished_at=Now(), cancel_reason="not wanted")
    lines = [line.strip() for line in run("jobs").splitlines()]
    assert [line.split()[0] for line in lines[1:4]] == [str(job.pk) for job in (runs, waits, retried)]
    assert lines[1].endswith("3 of 10 rows")
    assert lines[2].endswith("key shop")
    assert "  in " in lines[3]
    assert lines[3].endswith("OSError: no")
    assert lines[4] == "3 of 3. One in full: longwave queue show ID"
    (only,) = json.loads(run("jobs", "--status", "cancelled", "--json"))["jobs"]
    assert (only["id"], only["reason"]) == (ended.pk, "not wanted")
    assert run("jobs", "--name", "there.is.none") == "No such jobs.\n"
    with pytest.raises(InvalidInput, match="--status = 'done': must be one of scheduled, queued"):
        run("jobs", "--status", "done")
    with pytest.raises(InvalidInput, match="queue = 'mail'"):
        run("jobs", "--queue", "mail")


def test_purging_asks_and_what_was_purged_is_cancelled_not_lost() -> None:
    row = a_job()
    with pytest.raises(InvalidInput, match=r"--yes.*Cancel 1 job that waits in default\?"):
        run("purge", "default")
    assert run("purge", "default", "--yes") == "Cancelled 1 job of default.\n"
    row.refresh_from_db()
    assert (row.status, row.cancel_reason) == (Status.CANCELLED, "purged by hand")


def test_jobs_are_cancelled_by_id_and_what_became_of_each_is_said() -> None:
    waiting, ended = a_job(), a_job(status=Status.SUCCESS)
    running = a_job(
        status=Status.RUNNING, owner="host:7:8:x", lease_until=timezone.now() + timedelta(minutes=1)
    )
    with pytest.raises(NotFound, match="no job 999"):
        run("cancel", str(waiting.pk), "999")
    told = CliRunner().invoke(
        queue_commands.app, ["cancel", *(str(row.pk) for row in (waiting, waiting, running, ended))]
    )
    assert told.exit_code == 1
    assert told.output.splitlines() == [
        "Cancelled 1 job.",
        "1 job running: ends at its next checkpoint, or progress.",
        f"Not job {ended.pk}: it is success.",
    ]
    kept = [Job.objects.get(pk=row.pk) for row in (waiting, running)]
    assert [(row.status, row.cancel_reason) for row in kept] == [
        (Status.CANCELLED, "cancelled by hand"),
        (Status.RUNNING, "cancelled by hand"),
    ]
    again = json.loads(run("cancel", str(running.pk), "--reason", "too slow", "--json"))
    assert again == {"cancelled": 0, "running": 1, "ended": {}}


def test_all_jobs_of_a_name_are_cancelled_when_asked_for_by_it() -> None:
    mine, other = a_job(name="a.mine"), a_job(name="a.other")
    for words, remedy in (
        (("cancel", "all"), "which = 'all': needs --queue or --name"),
        (("cancel", str(mine.pk), "--name", "a.mine"), "must be the word all"),
        (("cancel", "all", "--name", "a.mine"), r"--yes.*Cancel 1 job\?"),
    ):
        with pytest.raises(InvalidInput, match=remedy):
            run(*words)
    assert run("cancel", "all", "--name", "a.mine", "--yes") == "Cancelled 1 job.\n"
    assert run("cancel", "all", "--name", "a.mine") == "Cancelled 0 jobs.\n"
    assert [Job.objects.get(pk=row.pk).status for row in (mine, other)] == [Status.CANCELLED, Status.QUEUED]


def test_a_failed_job_is_listed_shown_and_forgotten(workers: None) -> None:
    row = a_job(status=Status.FAILURE, error="[red]Boom: no luck", traceback="Traceback…", finished_at=Now())
    assert "[red]Boom: no luck" in run("failed")
    assert "No failed jobs like that." in run("failed", "--grep", "other")
    shown = run("show", str(row.pk))
    assert "[red]Boom" in shown
    assert "Traceback…" in shown
    told = json.loads(run("show", str(row.pk), "--json"))
    assert told["why"] == []
    row.refresh_from_db()
    assert told["finished_at"] == row.finished_at.isoformat(timespec="milliseconds")
    assert run("forget", str(row.pk), "--yes") == "Deleted 1 job.\n"
    assert run("failed") == "No failed jobs.\n"


def test_what_a_job_spent_its_time_on_is_shown(workers: None) -> None:
    row = a_job(status=Status.SUCCESS, started_at=Now(), finished_at=Now())
    timeline.keep(row.pk, [Span("read the file", "excel", timezone.now(), 1234.4, "")])
    (line,) = [line for line in run("show", str(row.pk)).splitlines() if "read the file" in line]
    assert line.split()[-3:] == ["excel", "1,234", "ms"]
    moments = json.loads(run("show", str(row.pk), "--json"))["timeline"]
    assert [moment["what"] for moment in moments] == ["submitted", "started", "success", "read the file"]


def test_what_looks_like_markup_or_is_long_is_shown_as_it_is(
    workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    row = a_job(status=Status.FAILURE, args={"url": "x" * 300}, traceback="Traceback…", finished_at=Now())
    timeline.keep(row.pk, [Span("render [b]", "charts", timezone.now(), 12.5, "KeyError: no [/red]")])
    shown = run("show", str(row.pk))
    assert shown.count("x") >= 300
    assert "[/red]" in shown
    assert "Traceback…" in shown


def test_workers_without_the_code_of_a_job_are_not_who_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    old = presence.Answer("old@host", "host", 7, ["default"], 2, 80.0, declares=["campaigns.lane"])
    new = presence.Answer("new@host", "host", 8, ["default"], 2, 80.0, declares=["campaigns.prepare"])
    row = a_job(name="campaigns.prepare")
    monkeypatch.setattr(presence, "workers", lambda: {"old@host": old})
    said = "No worker that listens to queue default (old@host) has code for campaigns.prepare"
    assert said in run("show", str(row.pk))
    monkeypatch.setattr(presence, "workers", lambda: {"old@host": old, "new@host": new})
    assert "has a free place (new@host)." in run("show", str(row.pk))


def test_a_job_can_be_looked_at_where_a_module_of_jobs_is_broken(
    workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(config.current(), modules=("no_such_module",))
    monkeypatch.setattr(config, "current", lambda: here)
    shown = run("show", str(a_job().pk))
    assert "LONGWAVE_MODULES = 'no_such_module': there is no such module" in shown
    assert "No code here declares a.b" in shown
    done = a_job(status=Status.SUCCESS, finished_at=Now())
    assert "LONGWAVE_MODULES" not in run("show", str(done.pk))


def test_a_job_under_which_workers_died_says_how_often(workers: None) -> None:
    row = a_job(crashes=2, failures=0)
    (line,) = [line for line in run("show", str(row.pk)).splitlines() if line.startswith("crashes")]
    assert line.split() == ["crashes", "2"]
    told = json.loads(run("show", str(row.pk), "--json"))
    assert (told["crashes"], told["failures"]) == (2, 0)


def test_why_is_part_of_what_is_shown(workers: None) -> None:
    PausedQueue.objects.create(queue="default")
    assert "`longwave queue resume default`" in run("show", str(a_job().pk))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("retry", "five"), "must be job ids, or the word all"),
        (("failed", "--since", "yesterday"), "must be like 30m, 2h, 3d"),
        (("failed", "--since", "999999d"), "must be like 30m, 2h, 3d"),
        (("failed", "--since", "9999999999999d"), "must be like 30m, 2h, 3d"),
        (("failed", "--queue", "nonsense"), "must be one of campaigns"),
        (("work", "default"), "--once"),
    ],
)
def test_what_was_typed_wrong_is_named(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        run(*words)


def test_a_job_that_there_is_not_is_named() -> None:
    with pytest.raises(NotFound, match="There is no job 5"):
        run("show", "5")


def test_the_overview_names_workers_their_jobs_and_queues_nobody_listens_to(workers: None) -> None:
    a_job(queue="email")
    a_job(status=Status.RUNNING, owner="host:7:8:abcd", started_at=Now())
    leased = {"status": Status.RUNNING, "owner": "other:9:9:abcd", "started_at": Now()}
    a_job(**leased, lease_until=Now() + timedelta(seconds=5))
    a_job(**leased, lease_until=Now() + timedelta(seconds=10))
    seen = overview.look()
    assert [(line.name, len(line.jobs), line.has_answered) for line in seen.workers] == [
        ("w@host", 1, True),
        ("other:9", 2, False),
    ]
    assert [round(line.last_seen) for line in seen.workers] == [0, 20]
    said = CliRunner().invoke(_app(), []).output
    assert "nobody listens" in next(line for line in said.splitlines() if line.strip().startswith("email"))
    assert "does not answer" in said
    assert "20 s ago" in said


def test_the_overview_says_which_workers_are_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = presence.Answer("old@host", "host", 7, [], 2, 80.0, is_leaving=True)
    monkeypatch.setattr(presence, "workers", lambda: {"old@host": leaving})
    a_job(status=Status.RUNNING, owner="host:7:8:abcd", started_at=Now())
    a_job()
    (line,) = overview.look().workers
    assert (line.name, len(line.jobs), line.has_answered, line.is_leaving) == ("old@host", 1, True, True)
    said = CliRunner().invoke(_app(), []).output
    assert "leaving" in said
    assert "nobody listens" in said


@pytest.mark.parametrize(
    ("columns", "words"), [("60", ()), ("80", ("retrying", "nobody")), ("120", ("clear in",))]
)
def test_a_narrow_terminal_sees_which_queue_it_is(
    workers: None, columns: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    a_job(queue="workflow-processing")
    said = CliRunner().invoke(_app(), []).output
    assert "workflow-processing" in said
    assert all(word in said for word in words)
    assert "…" not in said


def test_the_overview_says_since_when_a_queue_is_paused(workers: None) -> None:
    run("pause", "default")
    told = pausing.paused()["default"]
    assert (
        f"paused since {told.at:%Y-%m-%d %H:%M:%S} UTC by {told.by}" in CliRunner().invoke(_app(), []).output
    )
    shown = json.loads(CliRunner().invoke(_app(), ["--json"]).output)["queues"]
    assert [line["pause"]["by"] for line in shown if line["is_paused"]] == [told.by]


def test_the_overview_says_since_when_nobody_has_looked_at_a_group(workers: None) -> None:
    at = timezone.now() - timedelta(minutes=5)
    Scaling.objects.create(group="files", at=at, desired=1, minimum=1, maximum=4, owner="host:1")
    assert f"nobody has looked since {at:%Y-%m-%d %H:%M:%S} UTC" in CliRunner().invoke(_app(), []).output


def test_the_overview_as_json_is_one_document(workers: None) -> None:
    shown = json.loads(CliRunner().invoke(_app(), ["--json"]).output)
    assert set(shown) == {"queues", "workers", "senders", "campaigns", "scaling", "broker_answers"}


@pytest.mark.parametrize("words", [["--watch"], ["--watch", "--json"]])
def test_watching_goes_on_in_a_pipe_too(
    workers: None, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, None, KeyboardInterrupt()])

    def wait(seconds: float) -> None:
        if (told := next(looks)) is not None:
            raise told

    monkeypatch.setattr(status_command.time, "sleep", wait)
    a_job()
    result = CliRunner().invoke(_app(), words)
    assert result.exit_code == 130
    assert result.output.count("w@host") >= 3


def test_a_broker_that_is_away_is_said_and_busy_workers_are_known_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "workers", lambda: None)
    assert "the broker does not answer" in CliRunner().invoke(_app(), []).output
    a_job(status=Status.RUNNING, owner="host:7:8:abcd", started_at=Now(), lease_until=Now())
    said = CliRunner().invoke(_app(), []).output
    assert "the broker does not answer" in said
    assert "host:7" in said


@pytest.mark.parametrize(
    ("url", "remedy"),
    [(None, "start `longwave up`"), ("redis://away", "start it, or correct LONGWAVE_BROKER_URL")],
)
def test_who_is_to_start_a_broker_that_is_away_is_said_everywhere(
    url: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(config.current(), broker_url=url)
    monkeypatch.setattr(config, "current", lambda: here)
    monkeypatch.setattr(presence, "workers", lambda: None)
    assert remedy in CliRunner().invoke(_app(), []).output
    assert remedy in run("show", str(a_job().pk))
    assert remedy in CliRunner().invoke(queue_commands.app, ["drift"]).output


def _app() -> Any:

    app = typer.Typer()
    app.command()(status_command.status)
    return app


def test_what_agrees_is_said_and_what_does_not_is_named(
    workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "depth", lambda queue: 0)
    assert run("drift") == "Ledger, broker and workers agree.\n"
    long_ago = timezone.now() - timedelta(minutes=5)
    a_job(rung_at=long_ago)
    a_job(queue="email")
    a_job(status=Status.RUNNING, owner="elsewhere:7:8:x", lease_until=long_ago)
    a_job(
        status=Status.RUNNING,
        owner=f"{socket.gethostname()}:999999999:8:x",
        lease_until=timezone.now() + timedelta(hours=1),
    )
    found = {(one["what"], one["queue"]) for one in json.loads(run("drift", "--json"))}
    assert found == {
        ("jobs wait, and the broker has no message for them", "default"),
        ("jobs wait, and no worker that answered listens", "email"),
        ("jobs run without a lease", "default"),
        ("jobs run in worker 999999999, which is gone", "default"),
        ("nothing here declares a.b", "default"),
        ("nothing here declares a.b", "email"),
    }


def test_messages_that_nothing_waits_for_are_harmless(workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    PausedQueue.objects.create(queue="default")
    monkeypatch.setattr(broker, "depth", lambda queue: 3)
    result = CliRunner().invoke(queue_commands.app, ["drift"])
    assert "more messages than jobs" in result.output
    assert result.exit_code == 0
