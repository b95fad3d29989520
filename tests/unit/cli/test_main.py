"""The frame: what is imported when, how errors read, and which exit code they give."""

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import pytest
import typer
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError

import longwave.cli
from longwave import database
from longwave.cli import COMMANDS, failures, flower, lazy
from longwave.core.errors import Conflict, InvalidInput, LongwaveError, NotFound, Problem

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"

Raise = Callable[[BaseException], None]


@pytest.fixture
def raises(monkeypatch: pytest.MonkeyPatch) -> Raise:
    """Make `longwave version` raise this."""

    def install(error: BaseException) -> None:
        def version(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
            raise error

        monkeypatch.setattr("longwave.cli.system.version", version)

    return install


def exit_code(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        longwave.cli.main(list(args))
    return int(caught.value.code or 0)


def python(code: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "src", "LONGWAVE_HOME": str(home), **env}
    return subprocess.run([sys.executable, *code.split()], env=environ, capture_output=True, text=True)


def test_what_a_command_imports_is_not_searched_for_garbage() -> None:
    code = (
        "import gc\nfrom longwave.cli import main\n"
        "try: main(['version'])\n"
        "except SystemExit: assert gc.isenabled() and gc.get_freeze_count()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("args", [["--help"], ["version"], ["up", "--help"]])
def test_help_and_whatever_needs_no_database_start_without_django_and_celery(args: list[str]) -> None:
    code = (
        "import sys\nfrom longwave.cli import main\n"
        f"try: main({args!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'django', 'celery', 'aiohttp', 'granian', 'uvloop'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command_with_its_line_and_hides_the_hidden(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code("--help") == 0
    shown = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert (f" {name} " in shown) is not entry.hidden
        assert (entry.help[:30] in shown) is not entry.hidden


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_has_help_of_its_own(name: str) -> None:
    command = lazy.load(name, COMMANDS[name])
    assert command.name == name
    assert command.help


def test_a_module_that_does_not_import_breaks_its_own_command_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "demo", lazy.Entry("longwave.absent:app", "Broken.", "Run", "nothing"))
    assert exit_code("--help") == 0
    assert exit_code("version") == 0
    assert exit_code("demo") == 1
    assert "Error: unexpected: ModuleNotFoundError" in capsys.readouterr().err


def test_bad_input_is_one_line_a_problem_and_exit_code_2(
    raises: Raise, capsys: pytest.CaptureFixture[str]
) -> None:
    raises(InvalidInput(Problem("rate", -1, "must be positive"), Problem("name", "", "is empty")))
    assert exit_code("version") == 2
    assert capsys.readouterr().err == ("Error: rate = -1: must be positive\nError: name = '': is empty\n")


@pytest.mark.parametrize(
    "error", [NotFound("there is no x"), Conflict("it runs"), LongwaveError("it failed")]
)
def test_other_errors_of_ours_are_a_sentence_and_exit_code_1(
    error: LongwaveError, raises: Raise, capsys: pytest.CaptureFixture[str]
) -> None:
    raises(error)
    assert exit_code("version") == 1
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_a_script_gets_errors_as_json_on_stderr(raises: Raise, capsys: pytest.CaptureFixture[str]) -> None:
    raises(InvalidInput(Problem("rate", -1, "must be positive")))
    assert exit_code("version", "--json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err) == {
        "error": "rate = -1: must be positive",
        "problems": [{"field": "rate", "value": "-1", "remedy": "must be positive"}],
    }


@pytest.mark.parametrize(
    ("error", "meaning", "remedy"),
    [
        (OperationalError("no such table: longwave_job"), "lacks a table", "longwave migrate"),
        (ProgrammingError('relation "longwave_job" does not exist'), "lacks a table", "longwave migrate"),
        (ProgrammingError(1146, "Table 'x.longwave_job' doesn't exist"), "lacks a table", "longwave migrate"),
        (OperationalError("database is locked"), "busy", "try again"),
        (OperationalError("unable to open database file"), "cannot be opened", "LONGWAVE_HOME"),
        (OperationalError("connection refused"), "cannot be reached", "LONGWAVE_DATABASE_URL"),
        (OperationalError(2002, "Can't connect to server"), "cannot be reached", "LONGWAVE_DATABASE_URL"),
        (OperationalError('password authentication failed for user "u"'), "refuses", "LONGWAVE_DATABASE_URL"),
        (OperationalError('failed: FATAL:  database "x" does not exist'), "no such database", "create it"),
        (OperationalError("FATAL:  the database system is starting up"), "takes no connection", "try again"),
        (OperationalError('FATAL:  database "x" is not currently accepting'), "takes no connection", "try"),
        (OperationalError(1040, "Too many connections"), "takes no connection", "try again"),
        (OperationalError(1049, "Unknown database 'x'"), "no such database", "create it"),
        (OperationalError('failed: FATAL:  role "u" does not exist'), "refuses", "LONGWAVE_DATABASE_URL"),
        (ProgrammingError("permission denied for schema public"), "does not let this user", "grant"),
        (
            ImproperlyConfigured("Error loading psycopg2 or psycopg module"),
            "psycopg",
            '`pip install "psycopg[binary]>=3.2"`.',
        ),
        (
            ImproperlyConfigured("Error loading MySQLdb module.\nDid you install mysqlclient?"),
            "MySQLdb",
            '`pip install "mysqlclient>=2.2.7"`.',
        ),
    ],
)
def test_the_database_s_troubles_are_a_sentence_with_a_remedy(
    error: Exception, meaning: str, remedy: str, raises: Raise, capsys: pytest.CaptureFixture[str]
) -> None:
    raises(error)
    assert exit_code("version") == 1
    said = capsys.readouterr().err
    assert meaning in said
    assert remedy in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("boom"), PermissionError(13, "Permission denied", "/data")])
def test_the_unexpected_is_no_traceback(
    error: Exception, raises: Raise, capsys: pytest.CaptureFixture[str]
) -> None:
    raises(error)
    assert exit_code("version") == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert "Traceback" not in said
    assert said.count("\n") == 1


def test_debug_shows_the_traceback(raises: Raise, monkeypatch: pytest.MonkeyPatch) -> None:
    raises(RuntimeError("boom"))
    monkeypatch.setenv("LONGWAVE_LOG_LEVEL", "debug")
    with pytest.raises(RuntimeError, match="boom"):
        longwave.cli.main(["version"])


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"https://api.telegram.org/bot{TOKEN}/getMe"),
        Conflict(f"token {TOKEN}"),
        InvalidInput(Problem("token", TOKEN, f"not {TOKEN}")),
        OperationalError(f"connection to postgresql://u:{TOKEN.partition(':')[2]}@h/d failed"),
    ],
)
def test_no_error_shows_a_secret(error: Exception, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    failures.report(error, as_json=as_json)
    said = capsys.readouterr()
    assert TOKEN.partition(":")[2] not in said.err + said.out


def test_ctrl_c_is_exit_code_130(raises: Raise) -> None:
    raises(KeyboardInterrupt())
    assert exit_code("version") == 130


def test_ctrl_c_while_the_command_line_loads_is_no_traceback() -> None:
    interrupted = """
import runpy, sys
class CtrlC:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
runpy.run_module("longwave", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("frobnicate",), "No such command 'frobnicate'; `longwave --help` tells what there is."),
        (
            ("queue", "sow"),
            "No such command 'sow'. Did you mean 'show'? `longwave queue --help` tells what there is.",
        ),
        (("version", "--frob"), "No such option: --frob; `longwave version --help` tells what there is."),
        (("fake-telegram", "--port", "x"), "--port = 'x': must be a valid integer"),
    ],
)
def test_a_wrong_command_line_is_bad_input_with_a_remedy(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*words) == 2
    assert capsys.readouterr().err == f"Error: {said}\n"


def test_no_command_is_answered_with_the_help_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code() == 2
    said = capsys.readouterr()
    assert "Usage: longwave" in said.out
    assert said.err == ""


def test_a_bad_setting_refuses_to_start_and_names_itself(tmp_path: Path) -> None:
    done = python("-m longwave migrate", tmp_path, LONGWAVE_PORT="http", LONGWAVE_NONSENSE="1")
    assert done.returncode == 2
    assert "LONGWAVE_PORT = 'http'" in done.stderr
    assert "LONGWAVE_NONSENSE" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_kinds_of_workers_serve_every_queue_between_them() -> None:
    from longwave.cli.up import GENERAL, SENDING

    priorities = import_module("longwave.jobs.queues").PRIORITIES
    assert sorted([*SENDING, *GENERAL]) == sorted(priorities)


def test_the_version_is_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out.startswith("longwave ")


@pytest.mark.parametrize("option", ["--port=99999", "--rate=-1", "--latency=-5"])
def test_the_fake_refuses_numbers_that_mean_nothing(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("fake-telegram", "--port=0", option) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_the_fake_says_what_to_do_when_its_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert exit_code("fake-telegram", "--port", str(taken.getsockname()[1])) == 2
    assert "choose another with --port" in capsys.readouterr().err


def test_a_data_folder_that_cannot_be_made_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LONGWAVE_HOME", "/dev/null/folder")
    assert failures.report(NotADirectoryError(20, "Not a directory", "/dev/null/folder")) == 1
    assert failures.report(FileNotFoundError(2, "No such file", "/elsewhere/people.csv")) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "Set LONGWAVE_HOME to a folder that you may write to" in first
    assert second == "Error: No such file (/elsewhere/people.csv)"


def test_a_data_folder_named_in_a_file_is_known_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").write_text("/dev/null/folder\n")
    monkeypatch.delenv("LONGWAVE_HOME", raising=False)
    monkeypatch.setenv("LONGWAVE_HOME_FILE", str(tmp_path / "home"))
    failures.report(NotADirectoryError(20, "Not a directory", "/dev/null/folder"))
    assert "Set LONGWAVE_HOME to a folder" in capsys.readouterr().err


def test_before_the_first_up_a_command_says_what_to_do_and_logs_nothing(tmp_path: Path) -> None:
    python("-m longwave contacts lists", tmp_path)
    add = "from longwave.senders import senders; senders.add('memory', 'shop', 'secret')"
    code = f"import longwave; longwave.setup(); {add}"
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "src", "LONGWAVE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    sent = python("-m longwave send --sender shop --to a --text hi", tmp_path)
    assert sent.returncode == 0
    assert sent.stdout.endswith("will send it.\n")
    assert sent.stderr.splitlines() == [
        "Nothing is running that would send it: start `longwave up` in another terminal."
    ]


def test_what_is_to_be_installed_is_what_the_extras_bring() -> None:
    with (Path(__file__).parents[3] / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert [*extras["postgres"], *extras["mysql"]] == list(database.DRIVERS.values())
    assert extras["flower"] == [flower.PACKAGE]
