"""What bot code imports: submitting by name, asking, and words that help when something is wrong."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from hypothesis import example as with_example
from hypothesis import given
from hypothesis import strategies as st

from longwave import background
from longwave.channels import template
from longwave.core.errors import Conflict, InvalidInput, NotFound
from longwave.jobs import Again, broker, declare, job, presence, rooms, runner, sweep
from longwave.jobs.models import Job, Status
from longwave.senders import credentials, notify
from longwave.senders.models import Sender


@job("background.example", queue="import", retries=1)
def example(value: int, queue: str = "") -> object:
    """Double it, or do as told."""
    if queue == "again":
        return Again(after=60)
    if value < 0:
        raise RuntimeError("below zero")
    return value * 2


@pytest.fixture(autouse=True)
def rung(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    pairs: list[tuple[int, int]] = []

    def publish(name: str, queue: str, messages: Sequence[Sequence[tuple[int, int]]]) -> None:
        pairs.extend(pair for message in messages for pair in message)

    monkeypatch.setattr(broker, "publish", publish)
    yield pairs
    runner.coroutines.close()


def row(job_id: int) -> Job:
    return Job.objects.get(pk=job_id)


def test_a_job_is_submitted_by_its_name_with_options_beside_its_arguments(
    rung: list[tuple[int, int]],
) -> None:
    moment = timezone.now() + timedelta(hours=1)
    task_id = background.submit("background.example", value=3)
    other = background.submit("background.example", value=4, queue="email.eu", run_at=moment, serial_key="k")
    assert rung == [(task_id, 1)]
    assert (row(task_id).args, row(task_id).queue) == ({"value": 3}, "import")
    later = row(other)
    assert (later.queue, later.run_at, later.serial_key, later.status) == (
        "email.eu",
        moment,
        "k",
        Status.SCHEDULED,
    )


def test_an_argument_called_like_an_option_is_given_in_a_mapping() -> None:
    task_id = background.submit("background.example", {"queue": "mine"}, value=1, queue="default")
    assert (row(task_id).args, row(task_id).queue) == ({"queue": "mine", "value": 1}, "default")


def test_a_dedupe_key_gives_the_id_that_is_there() -> None:
    first = background.submit("background.example", value=1, dedupe_key="d")
    assert background.submit("background.example", value=2, dedupe_key="d") == first


def test_what_is_wrong_is_named_as_it_was_written() -> None:
    with pytest.raises(InvalidInput, match=r"^queue = 'emial': must be one of"):
        background.submit("background.example", value=1, queue="emial")
    with pytest.raises(InvalidInput, match=r"valeu = 1: background\.example does not take it"):
        background.submit("background.example", valeu=1)
    with pytest.raises(NotFound, match=r"background\.example.*LONGWAVE_MODULES"):
        background.submit("background.exampel", value=1)
    assert Job.objects.count() == 0


def test_a_result_goes_from_pending_over_retry_to_its_end() -> None:
    task_id = background.submit("background.example", value=-1)
    pending = background.get_task_result(task_id)
    assert (pending.status, pending.result, pending.duration_ms) == ("pending", None, None)
    runner.execute(task_id, 1)
    assert background.get_task_result(task_id).status == "retry"
    Job.objects.update(status=Status.QUEUED)
    runner.execute(task_id, 1)
    failed = background.get_task_result(task_id)
    assert failed.status == "failure"
    assert failed.metadata["error"] == "RuntimeError: below zero"
    assert (failed.metadata["state"], failed.metadata["attempt"]) == ("failure", 2)


def test_a_result_says_what_came_out_and_how_long_it_took() -> None:
    task_id = background.submit("background.example", value=21)
    runner.execute(task_id, 1)
    done = background.get_task_result(task_id)
    assert (done.task_id, done.status, done.result) == (task_id, "success", 42)
    started, finished = done.metadata["started_at"], done.metadata["finished_at"]
    assert done.duration_ms == pytest.approx((finished - started).total_seconds() * 1000, abs=0.01)
    assert (done.metadata["name"], done.metadata["queue"]) == ("background.example", "import")


def test_a_pause_the_job_asked_for_is_no_retry_and_a_cancelled_one_is_a_failure() -> None:
    task_id = background.submit("background.example", {"queue": "again"}, value=1)
    runner.execute(task_id, 1)
    assert row(task_id).status == Status.RETRY
    assert background.get_task_result(task_id).status == "pending"
    Job.objects.update(status=Status.CANCELLED)
    assert background.get_task_result(task_id).status == "failure"


def test_a_task_that_is_not_there_is_told_so() -> None:
    with pytest.raises(NotFound, match=r"no task 4711.*forgotten"):
        background.get_task_result(4711)


def test_queues_say_what_is_in_them_and_since_when() -> None:
    first = background.submit("background.example", value=1)
    background.submit("background.example", value=2)
    background.submit("background.example", value=3, run_at=timezone.now() + timedelta(days=1))
    background.submit("background.example", value=3, queue="email.eu")
    Job.objects.filter(pk=first).update(ready_at=timezone.now() - timedelta(seconds=90))
    found = background.get_queue_status()
    assert list(found)[:2] == ["campaigns", "broadcast"]
    assert (found["import"].priority, found["import"].ready, found["import"].scheduled) == (5, 2, 1)
    assert 90 <= found["import"].oldest_wait < 120
    assert (found["email.eu"].ready, found["email.eu"].priority) == (1, 10)
    assert (found["email"].ready, found["email"].oldest_wait) == (0, 0.0)
    # Its turn begins anew: what came due, or has just run, has not waited since it was made.
    due = {"status": Status.RETRY, "run_at": timezone.now() - timedelta(seconds=30)}
    Job.objects.filter(pk=first).update(**due)
    assert sweep.queue_due() == 1
    assert 30 <= background.get_queue_status()["import"].oldest_wait < 60


def test_totals_count_what_the_ledger_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_answering", lambda: ["general-1@host"])
    ids = [background.submit("background.example", value=value) for value in (1, 2, -1, 4, 5)]
    for task_id in ids[:3]:
        runner.execute(task_id, 1)
    Job.objects.filter(pk=ids[0]).update(
        started_at=timezone.now() - timedelta(seconds=3), finished_at=timezone.now() - timedelta(seconds=1)
    )
    Job.objects.filter(pk=ids[1]).update(
        started_at=timezone.now() - timedelta(seconds=1), finished_at=timezone.now()
    )
    found = background.get_worker_stats()
    assert (found.total_tasks, found.successful_tasks, found.failed_tasks) == (5, 2, 0)
    assert (found.pending_tasks, found.queue_length, found.active_workers) == (3, 2, 1)
    assert found.average_processing_time_ms == pytest.approx(1500, rel=0.01)


def test_without_a_broker_busy_workers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(queue: str) -> int:
        raise broker.BrokerAway("gone")

    monkeypatch.setattr(broker, "depth", away)
    for owner in ("vm:10:11:a", "vm:10:12:b", "other:10:11:c"):
        Job.objects.create(name="a.b", queue="default", status=Status.RUNNING, owner=owner)
    assert background.get_worker_stats().active_workers == 2


# Files and language models


def test_work_that_nothing_handles_yet_is_refused_with_what_to_do() -> None:
    for submit in (
        lambda: background.submit_file_processing("/tmp/people.xlsx", 5, {}),
        lambda: background.submit_llm_processing([{"text": "hello"}]),
        lambda: background.submit("files.process", file_path="x", user_id=1, options={}),
    ):
        with pytest.raises(Conflict, match=r'@job\("(files|llm)\.process", queue="(file|llm)_processing"\)'):
            submit()
    assert Job.objects.count() == 0


def test_whoever_declares_the_handler_gets_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declare, "_registry", dict(declare._registry))

    @job("files.process", queue="file_processing")
    def process(file_path: str, user_id: int, options: dict[str, object]) -> None:
        """Nothing."""

    task_id = background.submit_file_async(Path("/tmp/people.xlsx"), 5, {"deep": True})
    assert row(task_id).queue == "file_processing"
    assert row(task_id).args == {"file_path": "/tmp/people.xlsx", "user_id": 5, "options": {"deep": True}}


# Notifications


def sender(name: str) -> Sender:
    secret = credentials.encrypt("1234567890:" + "t" * 35)
    return Sender.objects.create(channel="telegram", name=name, credentials=secret, account={"id": name})


def test_a_notification_goes_through_the_only_sender_there_is() -> None:
    Sender.objects.create(channel="memory", name="another", credentials="", account={})
    shop = sender("shop")
    task_id = background.submit_telegram_notification(42, "Your report is ready.", silent=True)
    sent = row(task_id)
    assert (sent.name, sent.queue) == ("senders.send_notification", "notifications")
    assert sent.args["sender_id"] == shop.pk
    assert sent.args["address"] == "42"
    assert sent.args["content"] == {"kind": "text", "text": "Your report is ready.", "silent": True}


def test_a_sender_must_be_named_when_there_are_several_and_added_when_there_is_none() -> None:
    with pytest.raises(NotFound, match="longwave sender add telegram"):
        background.submit_telegram_notification(42, "x")
    sender("shop")
    news = sender("news")
    with pytest.raises(
        InvalidInput, match="sender = None: there are several for telegram; name one of news, shop"
    ):
        background.submit_telegram_notification(42, "x")
    task_id = background.submit_telegram_notification("@club", "x", sender="news")
    assert row(task_id).args["sender_id"] == news.pk


def test_what_telegram_would_refuse_is_refused_here() -> None:
    sender("shop")
    with pytest.raises(InvalidInput, match="text"):
        background.submit_telegram_notification(42, "<b>never closed", parse_mode="HTML")
    with pytest.raises(InvalidInput, match="sillent"):
        background.submit_telegram_notification(42, "x", sillent=True)
    with pytest.raises(InvalidInput, match="chat_id = 'not a chat': must be a chat's number"):
        background.submit_telegram_notification("not a chat", "x")
    assert Job.objects.count() == 0


@given(st.text(alphabet="{}%# \n\\endrawxyz-", max_size=40))
@with_example("{% endraw %}{{ 7 * 7 }}{# gone #}")
@with_example("{{{{%{#")
def test_a_text_that_looks_like_a_template_is_sent_as_it_is(text: str) -> None:
    assert template.Template(notify.quoted(text)).render({}) == text


# The bot's process


def test_a_coroutine_is_told_how_to_await_it() -> None:
    async def handler() -> None:
        background.submit("background.example", value=1)

    with pytest.raises(background.InsideLoop, match=r"await asyncio\.to_thread\(background\.submit, …\)"):
        asyncio.run(handler())

    async def better() -> int:
        return await asyncio.to_thread(background.submit, "background.example", value=1)

    assert row(asyncio.run(better())).args == {"value": 1}


def in_a_process(code: str, folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LONGWAVE_", "DJANGO_"))
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"LONGWAVE_HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)} | environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_setup_may_be_called_twice_and_imports_may_come_in_any_order(tmp_path: Path) -> None:
    code = (
        "from longwave import background; import longwave; longwave.setup(); longwave.setup(); print('fine')"
    )
    assert in_a_process(code, tmp_path).stdout == "fine\n"


def test_setup_names_the_setting_that_is_wrong(tmp_path: Path) -> None:
    done = in_a_process("import longwave; longwave.setup()", tmp_path, LONGWAVE_PORT="eighty")
    assert done.returncode == 1
    assert "InvalidInput: LONGWAVE_PORT = 'eighty': must be a whole number" in done.stderr


def test_a_database_without_tables_is_told_so(tmp_path: Path) -> None:
    done = in_a_process("from longwave import background; background.get_queue_status()", tmp_path)
    assert "Conflict: The database has no tables yet; run `longwave migrate`" in done.stderr


def test_setup_refuses_a_django_project_without_the_rooms(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("INSTALLED_APPS = []\n")
    done = in_a_process("import longwave; longwave.setup()", tmp_path, DJANGO_SETTINGS_MODULE="mine")
    assert "DJANGO_SETTINGS_MODULE = 'mine': its INSTALLED_APPS lack longwave.jobs" in done.stderr


# Modules of the user's own


def test_a_module_that_is_not_there_or_does_not_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lw_broken.py").write_text("import lw_absent_dependency\n")
    with pytest.raises(InvalidInput, match=r"LONGWAVE_MODULES = 'lw_missing.tasks': there is no such module"):
        rooms.load_modules(("lw_missing.tasks",))
    with pytest.raises(InvalidInput, match=r"'lw_broken': cannot be imported.*lw_absent.*lw_broken\.py:1\)"):
        rooms.load_modules(("lw_broken",))


@pytest.mark.parametrize(
    ("code", "line", "what"),
    [
        (
            "@job('mine.a', retries=-1)\ndef a(): ...\n",
            5,
            "ValueError: job mine.a: retries, lease and backoff",
        ),
        ("@job('mine.a')\ndef a(*args): ...\n", 5, "ValueError: job mine.a: parameter"),
        ("@schedule(every=-1)\n@job('mine.a')\ndef a(): ...\n", 5, "InvalidInput: every = -1: must be"),
        ("def a(:\n", 5, "SyntaxError"),
        ("job('mine.a')(7)\n", 5, "TypeError: 7 is not a callable"),
    ],
)
def test_what_a_module_declares_wrongly_is_told_with_its_own_line(
    code: str, line: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lw_wrong", raising=False)
    (tmp_path / "lw_wrong.py").write_text(f"from longwave.jobs import job, schedule\n\n\n\n{code}")
    with pytest.raises(InvalidInput) as refused:
        rooms.load_modules(("lw_wrong",))
    assert f"LONGWAVE_MODULES = 'lw_wrong': cannot be imported ({what}" in str(refused.value)
    assert f", in {tmp_path / 'lw_wrong.py'}:{line});" in str(refused.value)


def test_a_bot_submits_the_jobs_of_its_modules_by_name(tmp_path: Path) -> None:
    (tmp_path / "lw_reports.py").write_text(
        "from longwave.jobs import job\n@job('reports.build')\ndef build(user_id): ...\n"
    )
    code = (
        "from longwave import background; from django.core.management import call_command;"
        "call_command('migrate', verbosity=0);"
        "print(background.submit('reports.build', user_id=5))"
    )
    done = in_a_process(code, tmp_path, LONGWAVE_MODULES="lw_reports")
    assert done.stdout == "1\n", done.stderr
    # No broker runs there: that is the bot's own logging's to tell.
    assert done.stderr.count("broker_away") == 1
