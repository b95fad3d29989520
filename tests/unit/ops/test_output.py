"""Lines of many processes in one stream."""

import io
import json
import os

from longwave.ops.output import Output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def _pipe(content: bytes) -> io.BufferedReader:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return os.fdopen(reading, "rb")


def test_names_stand_in_a_column() -> None:
    stream = io.StringIO()
    output = Output(stream, names=["web", "general-1"])
    output.line("web", "hello")
    output.line("general-1", "hello")
    assert stream.getvalue() == "web       | hello\ngeneral-1 | hello\n"


def test_a_terminal_gets_one_colour_a_name(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    output = Output(stream, names=["a", "b"])
    for name in ("a", "b", "a"):
        output.line(name, "")
    first, second, third = stream.getvalue().splitlines()
    assert first == third
    assert first.partition("m")[0] != second.partition("m")[0]


def test_no_color_is_respected(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Output(stream, names=["a"]).line("a", "x")
    assert "\x1b" not in stream.getvalue()


def test_a_child_s_lines_are_followed_to_the_last_even_when_they_are_not_text() -> None:
    stream = io.StringIO()
    output = Output(stream, names=["web"])
    output.follow("web", _pipe(b"one\r\n\xff two\nlast without an end"))
    output.close()
    assert stream.getvalue() == "web | one\nweb | \ufffd two\nweb | last without an end\n"


def test_json_lines_stay_json() -> None:
    stream = io.StringIO()
    output = Output(stream, names=["web"], as_json=True)
    output.follow("web", _pipe(b'{"event": "x"}\n'))
    output.close()
    output.say("child ended", exit_code=1)
    theirs, ours = (json.loads(line) for line in stream.getvalue().splitlines())
    assert theirs == {"event": "x"}
    assert (ours["event"], ours["exit_code"]) == ("child ended", 1)


def test_what_a_child_says_without_json_becomes_json() -> None:
    stream = io.StringIO()
    output = Output(stream, names=["migrate"], as_json=True)
    output.follow("migrate", _pipe(b'The database is "up" to date.\n\n'))
    output.close()
    (line,) = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (line["event"], line["logger"]) == ('The database is "up" to date.', "longwave.migrate")


def test_a_reader_that_went_away_does_not_stop_the_children() -> None:
    output = Output(Gone(), names=["web"])
    pipe = _pipe(b"line\n" * 10)
    output.follow("web", pipe)
    output.close()
    assert pipe.closed  # read to its end
