"""One supervisor a data folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from longwave.core.errors import Conflict
from longwave.ops import lock

HOLD = """
import sys, time
from pathlib import Path
from longwave.ops import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "run" / "up.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(Conflict, match=rf"pid {first.pid}\b"), lock.held(path):
            pass
        assert lock.holder(path) == first.pid
        first.kill()
    assert lock.holder(path) is None
    with lock.held(path):
        assert path.read_text() == str(os.getpid())


def test_nobody_holds_a_lock_that_was_never_taken(tmp_path: Path) -> None:
    assert lock.holder(tmp_path / "up.lock") is None


def test_a_refused_second_does_not_spoil_the_first_s_pid(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    with lock.held(path):
        with pytest.raises(Conflict), lock.held(path):
            pass
        assert path.read_text() == str(os.getpid())
