"""One format for every line, and no bot token in any of them."""

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from longwave import logs
from longwave.campaigns import tasks, turn
from longwave.core.errors import InvalidInput
from longwave.jobs import job, runner
from longwave.jobs.declare import AnyJob

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
SECRET = TOKEN.partition(":")[2]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_library_s_line_and_ours_have_the_same_shape() -> None:
    stream = io.StringIO()
    logs.configure("INFO", "json", stream)
    structlog.get_logger("ours").info("batch done", campaign=1)
    logging.getLogger("theirs").info("connected to %s", "somewhere", extra={"campaign": 1})
    ours, theirs = lines(stream)
    assert ours.keys() == theirs.keys()
    assert (ours["event"], ours["logger"], ours["level"], ours["campaign"]) == (
        "batch done",
        "ours",
        "info",
        1,
    )
    assert theirs["event"] == "connected to somewhere"


def test_a_line_said_in_a_signal_handler_has_the_same_shape(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json", io.StringIO())
    logs.say_at_once("theirs", f"worker: Warm shutdown of {TOKEN}")
    (said,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (said["event"], said["logger"], said["level"]) == (
        "worker: Warm shutdown of 123456789:…",
        "theirs",
        "info",
    )
    logs.configure("WARNING", "json", io.StringIO())
    logs.say_at_once("theirs", "no news")
    assert capfd.readouterr().err == ""


def test_what_a_library_says_over_several_lines_is_one_line_for_people() -> None:
    stream = io.StringIO()
    logs.configure("INFO", "console", stream)
    logging.getLogger("theirs").warning("Cannot connect.\nTrying again in 2.00 seconds...\n")
    assert stream.getvalue().count("\n") == 1
    assert "Cannot connect. Trying again in 2.00 seconds..." in stream.getvalue()


def test_less_important_lines_are_left_out() -> None:
    stream = io.StringIO()
    logs.configure("WARNING", "json", stream)
    structlog.get_logger("ours").info("hello")
    logging.getLogger("theirs").info("hello")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_token_is_masked_wherever_it_stands(style: str) -> None:
    stream = io.StringIO()
    logs.configure("INFO", style, stream)  # type: ignore[arg-type]
    log = structlog.get_logger("ours")
    log.info("text %s", TOKEN)
    log.info("field", url=f"https://api.telegram.org/bot{TOKEN}/getMe", nested={"token": [TOKEN]})
    logging.getLogger("theirs").info("%s", TOKEN)
    try:
        raise RuntimeError(f"refused: {TOKEN}")
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("theirs").exception("failed")
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("123456789:…") >= 6


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_traceback_shows_no_local_variable(style: str) -> None:
    stream = io.StringIO()
    logs.configure("INFO", style, stream)  # type: ignore[arg-type]
    password = "hunter2"
    try:
        password.index("x")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    assert "substring not found" in stream.getvalue()
    assert "hunter2" not in stream.getvalue().replace('password = "hunter2"', "")


@given(
    bot=st.integers(10**3, 10**12),
    secret=st.text("abcXYZ019_-", min_size=30, max_size=50),
    around=st.sampled_from(
        [("", ""), ("bot", "/sendMessage"), ("'", "'"), ('{"t": "', '"}'), ("token=", "&x=1")]
    ),
)
def test_no_token_survives_scrubbing(bot: int, secret: str, around: tuple[str, str]) -> None:
    scrubbed = logs.scrub(f"{around[0]}{bot}:{secret}{around[1]}")
    assert secret not in scrubbed
    assert str(bot) in scrubbed


def test_a_long_number_takes_no_longer_than_any_text() -> None:
    number, began = "7" * 30_000, time.process_time()
    assert logs.scrub(f"{number} {TOKEN}") == f"{number} 123456789:…"
    assert time.process_time() - began < 1.0


def test_a_url_s_password_is_masked_and_its_host_is_not() -> None:
    assert logs.scrub("postgresql://ann:hunter2@db:5432/longwave") == "postgresql://ann:…@db:5432/longwave"
    assert logs.scrub("redis://:hunter2@cache:6379/0") == "redis://:…@cache:6379/0"


@pytest.mark.parametrize("text", ["at 12:30:45.123456 today", "chat 42: hello", "http://127.0.0.1:8080/x@y"])
def test_harmless_text_is_left_alone(text: str) -> None:
    assert logs.scrub(text) == text


def test_no_colours_where_nobody_sees_them() -> None:
    stream = io.StringIO()
    logs.configure("INFO", "console", stream)
    structlog.get_logger("ours").info("hello", a=1)
    assert "\x1b" not in stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "here"


def kept(folder: Path, component: str = "worker") -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"{component}.log").read_text().splitlines()]


def test_a_component_s_file_has_what_stderr_has_and_says_which_process_it_is_from(folder: Path) -> None:
    stream = io.StringIO()
    logs.configure("INFO", "json", stream)
    logs.keep(folder, "worker", "json", worker="a@host")
    structlog.get_logger("ours").info("job_failed", job=7)
    logging.getLogger("theirs").warning("connection of %s lost", TOKEN)
    said, in_file = lines(stream), kept(folder)
    for line in (*said, *in_file):
        assert line.pop("timestamp")
    assert in_file == [{**line, "worker": "a@host", "pid": os.getpid()} for line in said]
    assert [line["event"] for line in said] == ["job_failed", "connection of 123456789:… lost"]


def test_without_a_folder_there_is_no_file(tmp_path: Path) -> None:
    logs.configure("INFO", "json", io.StringIO())
    before = logging.getLogger().handlers[:]
    logs.keep(None, "worker", "json")
    assert logging.getLogger().handlers == before


def test_a_line_said_in_a_signal_handler_is_in_the_file_too(folder: Path) -> None:
    logs.configure("INFO", "json", io.StringIO())
    logs.keep(folder, "worker", "json")
    logs.say_at_once("theirs", "worker: Warm shutdown")
    assert [line["event"] for line in kept(folder)] == ["worker: Warm shutdown"]


def test_a_file_that_logrotate_has_moved_away_is_made_anew(folder: Path) -> None:
    logs.configure("INFO", "json", io.StringIO())
    logs.keep(folder, "beat", "json")
    log = structlog.get_logger("ours")
    log.info("before")
    (folder / "beat.log").rename(folder / "beat.log.1")
    log.info("after")
    assert [line["event"] for line in kept(folder, "beat")] == ["after"]


def test_lines_that_several_processes_write_at_once_stay_whole(folder: Path) -> None:
    code = (
        "import sys, structlog; from pathlib import Path; from longwave import logs\n"
        "logs.configure('INFO', 'json'); logs.keep(Path(sys.argv[1]), 'worker', 'json', worker=sys.argv[2])\n"
        "for _ in range(200): structlog.get_logger('ours').info('long', text=sys.argv[2] * 20_000)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), name], stderr=subprocess.DEVNULL)
        for name in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = kept(folder)
    assert len(found) == 400
    assert all(line["text"] == str(line["worker"]) * 20_000 for line in found)
    assert {line["pid"] for line in found} == {writer.pid for writer in writers}


def test_a_folder_that_cannot_be_written_to_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput) as caught:
        logs.keep(tmp_path / "file", "worker", "json")
    (problem,) = caught.value.problems
    assert problem.field == "LONGWAVE_LOG_DIR"
    assert "name a folder that this user may write to" in problem.remedy


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
def test_a_full_disk_is_told_once_and_stops_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker.log").symlink_to("/dev/full")
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    logs.configure("INFO", "console")
    logs.keep(tmp_path, "worker", "console")
    for number in range(3):
        structlog.get_logger("ours").info("line", number=number)
    logs.say_at_once("theirs", "the last")
    said = capfd.readouterr().err
    assert said.count("cannot be written (No space left on device): lines are here only") == 1
    assert "Traceback" not in said
    assert [number for number in range(3) if f"number={number}" in said] == [0, 1, 2]


def test_a_file_that_could_not_be_opened_again_once_is_opened_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "logs"
    monkeypatch.setattr(sys, "__stderr__", io.StringIO())
    logs.configure("INFO", "console", io.StringIO())
    logs.keep(folder, "worker", "json")
    say = structlog.get_logger("ours").info
    say("before")
    folder.rename(tmp_path / "away")  # as when a disk is taken out
    say("meanwhile")
    folder.mkdir()
    say("after")
    assert [line["event"] for line in kept(folder)] == ["after"]


@job("logs.plain", queue="import")
def plain() -> None:
    """Log a line."""
    structlog.get_logger("ours").warning("said_in_a_job")


@job("logs.coroutine", queue="email")
async def coroutine() -> None:
    """Log a line, on the loop's own thread."""
    structlog.get_logger("ours").warning("said_in_a_job")


@pytest.mark.parametrize("declared", [plain, coroutine])
def test_what_is_logged_in_a_job_names_it_and_its_queue(sqlite: str, declared: AnyJob) -> None:
    handle = declared.submit()
    stream = io.StringIO()
    logs.configure("WARNING", "json", stream)
    assert runner.execute(handle.id, 1)
    (line,) = [line for line in lines(stream) if line["event"] == "said_in_a_job"]
    assert (line["job"], line["job_name"], line["queue"]) == (handle.id, declared.name, declared.queue)


def test_what_a_lane_logs_names_its_campaign(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(campaign_id: int, **_: int) -> None:
        structlog.get_logger("ours").warning("said_in_a_lane")

    monkeypatch.setattr(turn, "take", take)
    handle = tasks.lane.submit(campaign_id=7, number=0, generation=0)
    stream = io.StringIO()
    logs.configure("WARNING", "json", stream)
    assert runner.execute(handle.id, 1)
    (line,) = [line for line in lines(stream) if line["event"] == "said_in_a_lane"]
    assert (line["campaign"], line["job"], line["queue"]) == (7, handle.id, "broadcast")
