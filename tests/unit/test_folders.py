"""What a test run leaves behind: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import os

def test_there_is_a_database(sqlite):
    assert os.path.exists(sqlite.removeprefix("sqlite:///"))

def test_there_is_a_data_folder():
    assert os.path.isdir(os.environ["LONGWAVE_HOME"])
"""
FORKED = """
import os, sys
from tests import folders
folder = folders.lasting()
if not (child := os.fork()):
    sys.exit()
os.waitpid(child, 0)
print(folder.exists(), folder)
"""


@pytest.mark.parametrize("options", [[], ["-n", "2"]])
def test_a_run_leaves_no_folder_behind(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "left").mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.conftest",
            *options,
            str(tmp_path / "test_it.py"),
        ],
        cwd=ROOT,
        env=environ | {"TMPDIR": str(tmp_path / "left")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert [path.name for path in (tmp_path / "left").iterdir() if path.name.startswith("longwave")] == []


def test_a_forked_process_removes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    was_there, folder = done.stdout.split()
    assert was_there == "True"
    assert not Path(folder).exists()
