"""One format for every line, and no bot token in any of them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from longwave import logs

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
SECRET = TOKEN.partition(":")[2]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
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
