"""`longwave campaign …`: what people are told, with the next step, and what scripts get."""

import io
import json
import os
import pty
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from rich.console import Console

import longwave.cli
from longwave.campaigns import clearing, lifecycle, preparing, report
from longwave.campaigns.models import Batch, Campaign, ErrorTally
from longwave.cli import campaign_view
from longwave.cli.campaign import _CountedLines
from longwave.cli.words import duration
from longwave.contacts import importing, lists
from longwave.contacts.models import Contact
from longwave.jobs.models import Job
from longwave.senders import senders

pytestmark = pytest.mark.usefixtures("sqlite")

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `longwave …` in this process: exit code, what it printed, what it complained about."""

    def command(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            longwave.cli.main(list(args))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A sender, a list of three and a list of nobody."""
    senders.add("memory", "shop", "secret", rate=30)
    people = tmp_path / "people.csv"
    people.write_text("address,name\na,Ann\nb,Bob\nc,Cem\n")
    with people.open("rb") as file:
        importing.import_csv(file, channel="memory", contact_list=lists.get_or_create("people", "memory"))
    lists.get_or_create("nobody", "memory")
    (tmp_path / "hello.json").write_text('{"text": "Hello {{ name }}"}')
    return tmp_path


@pytest.fixture
def draft(stage: Path, run: CommandLine) -> str:
    """The number of a draft to the list of three."""
    code, out, err = run(*create(stage, "people"), "--json")
    assert code == 0, err
    return str(json.loads(out)["id"])


def create(stage: Path, audience: str) -> list[str]:
    content = str(stage / "hello.json")
    return ["campaign", "create", "--sender", "shop", "--list", audience, "--content", content]


def test_create_says_whom_it_reaches_and_how_to_start(stage: Path, run: CommandLine) -> None:
    code, out, err = run(*create(stage, "people"))
    assert (code, err) == (0, "")
    assert "3 recipients, at 30/s, under a second" in out
    assert f"longwave campaign start {Campaign.objects.get().pk} --watch" in out


def test_an_audience_of_nobody_is_told_at_create_and_refused_at_start(stage: Path, run: CommandLine) -> None:
    code, _, err = run(*create(stage, "nobody"))
    assert code == 0
    assert "Nobody in its audience" in err
    code, _, err = run("campaign", "start", str(Campaign.objects.get().pk))
    assert code == 1
    assert "longwave contacts import" in err
    assert Campaign.objects.get().state == "draft"


def test_content_that_cannot_be_read_is_named_without_python_words(stage: Path, run: CommandLine) -> None:
    both = run(*create(stage, "people"), "--text", "hi")
    missing = run("campaign", "create", "--sender", "shop", "--list", "people", "--content", "nothing.json")
    for code, _, err in (both, missing):
        assert code == 2
        assert "Posix" not in err
        assert "Errno" not in err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--stars-budget", "-5"], "greater than or equal to 1"),
        (["--stars-budget", "5"], "is for paid broadcasts; add --paid"),
        (["--parse-mode", "HTML"], "belongs to --text"),
        (["--name", "x" * 201], "must be one line of at most 200"),
        (["--name", "two\nlines"], "must be one line of at most 200"),
        (["--failure-limit", "nan"], "must be above 0"),
        (["--on-unknown", "maybe"], "must be skip or resend"),
        (["--rate", "0"], "must be 0.001 to 100,000"),
    ],
)
def test_an_option_that_makes_no_sense_is_bad_input(
    stage: Path, run: CommandLine, option: list[str], words: str
) -> None:
    code, out, err = run(*create(stage, "people"), *option)
    assert (code, out) == (2, "")
    assert words in " ".join(err.replace("│", "").split())
    assert not Campaign.objects.exists()


def test_content_nested_without_end_is_bad_input(stage: Path, run: CommandLine) -> None:
    (stage / "hello.json").write_text("[" * 100_000)
    code, _, err = run(*create(stage, "people"))
    assert (code, "is not JSON" in err) == (2, True)


def test_schedule_says_when_and_unschedule_makes_it_a_draft_again(draft: str, run: CommandLine) -> None:
    _, out, err = run("campaign", "schedule", draft, "--at", "2099-01-01T09:00+03:00")
    assert f"Campaign {draft} is scheduled for 2099-01-01 06:00:00 UTC." in out
    assert "longwave up" in err
    assert "2099-01-01 06:00:00 UTC" in run("campaign", "show", draft)[1]
    assert "a draft again" in run("campaign", "unschedule", draft)[1]
    assert lifecycle.get(int(draft)).state == "draft"


def test_a_new_rate_is_confirmed(draft: str, run: CommandLine) -> None:
    assert "at 7.5/s" in run("campaign", "rate", draft, "7.5")[1]
    assert "at 30/s" in run("campaign", "rate", draft, "sender")[1]


def test_where_nothing_runs_a_test_is_queued_and_the_next_step_said(draft: str, run: CommandLine) -> None:
    code, out, err = run("campaign", "test", draft, "--to", "a")
    assert code == 0
    assert "1 test message queued." in out
    assert "longwave up" in err


def test_a_test_that_is_wrong_for_one_chat_is_sent_to_none(draft: str, run: CommandLine) -> None:
    code, _, err = run("campaign", "test", draft, "--to", "a", "--to", "stranger")
    assert code == 2
    assert "name" in err
    assert not Job.objects.exists()


def test_test_says_what_became_of_every_message(
    draft: str, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longwave.ops.liveness.is_anything_running", lambda: True)

    def look_later(
        _: float,
    ) -> None:  # instead of waiting: a worker sends one of them, and fails at the other
        first, second = Job.objects.order_by("pk")
        sent = {"message_id": "7", "address": "a"}
        Job.objects.filter(pk=first.pk).update(status="success", result=sent)
        Job.objects.filter(pk=second.pk).update(status="failure", error="chat not found")

    monkeypatch.setattr("longwave.cli.waiting.time.sleep", look_later)
    code, out, err = run("campaign", "test", draft, "--to", "a", "--to", "b")
    assert code == 1
    assert out == "Sent: message 7 to a.\n"
    assert err == "b: Not sent: chat not found\n"


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_ctrl_c_while_waiting_says_that_the_message_is_sent_all_the_same(
    draft: str, run: CommandLine, monkeypatch: pytest.MonkeyPatch, as_json: list[str]
) -> None:
    def ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("longwave.ops.liveness.is_anything_running", lambda: True)
    monkeypatch.setattr("longwave.cli.waiting.time.sleep", ctrl_c)
    code, out, err = run("campaign", "test", draft, "--to", "a", *as_json)
    assert (code, out) == (130, "")
    assert f"Job {Job.objects.get().pk} goes on without you" in err


@pytest.mark.parametrize("verb", [("resolve", "skip"), ("retry-failed",)])
def test_a_decision_about_nothing_says_so(draft: str, run: CommandLine, verb: tuple[str, ...]) -> None:
    command = ("campaign", verb[0], draft, *verb[1:])
    code, _, err = run(*command)
    assert (code, "has sent nothing yet" in err) == (1, True)
    Campaign.objects.update(state="completed", prepared=True)
    code, out, _ = run(*command)
    assert (code, out.startswith(("No ", "Nothing "))) == (0, True)


def test_receipts_into_a_folder_that_is_not_there_are_bad_input(draft: str, run: CommandLine) -> None:
    code, _, err = run("campaign", "receipts", draft, "--out", "/nowhere/receipts.csv")
    assert code == 2
    assert "--out = '/nowhere/receipts.csv'" in err


@pytest.mark.parametrize(("state", "expected"), [("completed", 0), ("cancelled", 0), ("failed", 1)])
def test_watch_without_a_terminal_prints_lines_and_its_exit_code_tells_a_failure(
    draft: str, run: CommandLine, state: str, expected: int
) -> None:
    Campaign.objects.update(state=state, prepared=True, recipients=3, reason="because [so]")
    code, out, _ = run("campaign", "watch", draft)
    assert code == expected
    clearing = ", clearing 3" if state == "cancelled" else ""
    assert out == f"Campaign {draft} {state}, 0 of 3, 0.0 sent/s{clearing} (because [so])\n"


@pytest.fixture
def completes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of waiting for the second look: workers do everything."""
    done = {"state": "completed", "recipients": 3, "prepared": True}
    monkeypatch.setattr("longwave.cli.campaign_view.time.sleep", lambda _: Campaign.objects.update(**done))


@pytest.mark.usefixtures("completes")
def test_start_watch_json_prints_the_report_at_the_end_and_nothing_else(draft: str, run: CommandLine) -> None:
    code, out, err = run("campaign", "start", draft, "--watch", "--json")
    assert code == 0
    assert json.loads(out)["state"] == "completed"
    assert out.count("\n") == 1
    assert "longwave up" in err


def test_ctrl_c_in_start_watch_json_still_gives_one_document(
    draft: str, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("longwave.cli.campaign_view.time.sleep", ctrl_c)
    code, out, _ = run("campaign", "start", draft, "--watch", "--json")
    assert (code, json.loads(out)["state"]) == (130, "preparing")


@pytest.mark.usefixtures("completes")
def test_watch_json_is_a_line_at_every_look_up_to_the_end(draft: str, run: CommandLine) -> None:
    lifecycle.start(int(draft))
    code, out, _ = run("campaign", "watch", draft, "--json")
    looks = [json.loads(line) for line in out.splitlines()]
    assert (code, [look["state"] for look in looks]) == (0, ["preparing", "completed"])
    assert looks[1].keys() >= {"at", "id", "reason", "recipients", "pending", "sent", "rate", "eta_seconds"}


def test_preview_as_json(draft: str, run: CommandLine) -> None:
    assert json.loads(run("campaign", "preview", draft, "--json")[1]) == {"id": int(draft), "problems": []}
    Contact.objects.filter(address="a").update(attributes={})
    code, out, err = run("campaign", "preview", draft, "--json")
    assert (code, out) == (2, "")
    assert json.loads(err)["problems"][0]["field"] == "text for a"


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """stderr is a terminal meanwhile; the function returns what it shows. Not a fixture: pytest sets stderr anew."""
    master, slave = pty.openpty()
    with open(slave, "w") as stderr, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123 - a descriptor
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", stderr)

        def shown() -> str:
            print("\0", file=stderr, flush=True)  # a terminal gives what it has in pieces: read up to here
            read = ""
            while "\0" not in read:
                assert select.select([master], [], [], 10)[0]
                read += os.read(master, 65536).decode()
            return read.partition("\0")[0]

        yield shown
    os.close(master)


def test_receipts_in_a_file_show_a_bar_on_the_terminal(draft: str, run: CommandLine, tmp_path: Path) -> None:
    lifecycle.start(int(draft))
    preparing.freeze(int(draft), until=lambda: False)
    with terminal() as shown:
        code, out, _ = run("campaign", "receipts", draft)
        assert (code, out.count("\n")) == (0, 4)
        assert "Receipts" in shown()
        assert "3 receipts" in run("campaign", "receipts", draft, "--out", str(tmp_path / "r.csv"))[1]
        assert "Receipts" in shown()


def test_receipts_on_the_terminal_itself_have_no_bar(
    draft: str, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal() as shown:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert run("campaign", "receipts", draft)[0] == 0
        assert shown() == ""


def test_counted_lines_tell_every_so_often() -> None:
    told: list[int] = []
    file = _CountedLines(io.StringIO(), told.append, every=2)
    for _ in range(5):
        file.write("line\n")
    assert told == [2, 4]


def test_right_after_a_cancel_the_report_says_that_it_is_being_cleared(draft: str, run: CommandLine) -> None:
    lifecycle.start(int(draft))
    preparing.freeze(int(draft), until=lambda: False)
    lifecycle.cancel(int(draft))
    shown = run("campaign", "show", draft)[1]
    assert "3, clearing 3: not sent, and being marked as cancelled" in shown
    assert "to come" not in shown
    clearing.clear(int(draft), until=lambda: False)
    shown = run("campaign", "show", draft)[1]
    assert "clearing" not in shown
    assert "cancelled 3" in shown


@pytest.mark.parametrize(("state", "is_told"), [("running", True), ("failed", True), ("cancelled", False)])
def test_the_report_offers_only_what_can_still_be_decided(
    draft: str, run: CommandLine, state: str, is_told: bool
) -> None:
    lifecycle.start(int(draft))
    preparing.freeze(int(draft), until=lambda: False)
    Batch.objects.update(unknown=1, rejected=1, state="done")
    Campaign.objects.update(state=state)
    shown = run("campaign", "show", draft)[1]
    assert (f"campaign resolve {draft} resend" in shown) is is_told
    assert (f"campaign retry-failed {draft}" in shown) is is_told


def test_a_reason_and_an_error_stay_on_their_lines(draft: str, run: CommandLine) -> None:
    words = "a [long] reason " * 12
    Campaign.objects.update(state="paused", reason=words.strip())
    ErrorTally.objects.create(campaign_id=int(draft), outcome="rejected", text=words.strip(), count=3)
    lines = run("campaign", "show", draft)[1].splitlines()
    assert sum(words.strip() in line for line in lines) == 2


@pytest.mark.usefixtures("completes")
def test_show_and_watch_say_when_nothing_would_send_it(draft: str, run: CommandLine) -> None:
    assert run("campaign", "show", draft)[2] == ""
    lifecycle.start(int(draft))
    assert "longwave up" in run("campaign", "show", draft)[2]
    assert run("campaign", "show", draft, "--json")[2] == ""
    assert "longwave up" in run("campaign", "watch", draft)[2]


def test_a_list_keeps_whole_numbers_and_states_on_a_narrow_terminal(
    draft: str, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Campaign.objects.update(state="preparing", recipients=1_234_567)
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run("campaign", "list")[1]
    assert "preparing" in narrow
    assert "1,234,567" in narrow
    assert max(len(line) for line in narrow.splitlines()) <= 40


def test_a_list_in_a_pipe_keeps_a_reason_on_one_line(
    draft: str, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    reason = "its time passed 120 min before anything was running; resume or cancel it"
    Campaign.objects.update(state="paused", reason=reason)
    assert reason in run("campaign", "list")[1]


def test_the_live_view_of_a_paused_campaign_says_how_to_go_on(draft: str) -> None:
    Campaign.objects.update(state="paused", reason="too many [red]failures")
    campaign = lifecycle.get(int(draft))
    now = report.progress(campaign)
    console = Console(record=True, width=80)
    console.print(campaign_view.render(campaign, now, 0.0, []))
    shown = console.export_text()
    assert "too many [red]failures" in shown
    assert f"longwave campaign resume {draft}" in shown


def test_the_rate_is_that_since_the_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 2.5, 3.0, 7.0])
    monkeypatch.setattr("longwave.cli.campaign_view.time.monotonic", lambda: next(clock))
    meter = campaign_view.RateMeter(span=4.0)
    assert [meter.add(sent) for sent in (0, 0, 0, 15, 30, 150)] == [0.0, 0.0, 0.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(("running_for", "left"), [(1, "about 10 s left"), (60, "about 30 s left")])
def test_the_time_left_is_at_the_allowed_rate_until_the_real_one_is_known(
    draft: str, running_for: float, left: str
) -> None:
    began = timezone.now() - timedelta(seconds=running_for)
    Campaign.objects.update(state="running", prepared=True, recipients=300, state_at=began)
    campaign = lifecycle.get(int(draft))
    console = Console(record=True, width=80)
    console.print(campaign_view.render(campaign, report.progress(campaign), 10.0, []))
    assert left in console.export_text()


def test_a_wrong_option_reaches_a_script_as_json(run: CommandLine) -> None:
    code, out, err = run("campaign", "show", "abc", "--json")
    assert (code, out) == (2, "")
    assert "id" in json.loads(err)["error"]


def test_durations_read_as_people_say_them() -> None:
    assert [duration(3334.0), duration(9.6), duration(7200)] == ["55 min 34 s", "10 s", "2 h 0 min"]
