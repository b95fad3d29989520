import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from longwave.testing.fake_telegram import FakeTelegram, Options
from longwave.testing.fake_telegram.__main__ import _parser
from longwave.testing.fake_telegram.process import arguments

SOURCES = Path(__file__).parents[3] / "src"
PARENT = """
import os, sys, time
from longwave.testing.fake_telegram import FakeTelegram
telegram = FakeTelegram().start()
{then}
print(telegram.pid, flush=True)
time.sleep(60)
"""


def is_over(pid: int, seconds: float = 5.0) -> bool:
    try:
        psutil.Process(pid).wait(seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def start_parent(then: str = "") -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def end(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.wait()
    if parent.stdout is not None:
        parent.stdout.close()


def test_the_server_ends_with_the_block_it_was_started_for() -> None:
    with FakeTelegram() as telegram:
        pid = telegram.pid
        assert telegram.stats()["accepted"] == 0
    assert pid is not None
    assert is_over(pid)
    with pytest.raises(RuntimeError, match="has not been started"):
        telegram.stats()


def test_the_server_does_not_outlive_a_parent_that_is_killed() -> None:
    parent, server = start_parent()
    assert psutil.pid_exists(server)
    end(parent)
    assert is_over(server)


def test_not_even_when_a_fork_of_the_parent_holds_its_end_of_the_pipe() -> None:
    fork = "child = os.fork()\nif not child:\n    time.sleep(60)\n    os._exit(0)\nprint(child, flush=True)"
    parent, child = start_parent(fork)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    end(parent)
    assert is_over(server)
    os.kill(child, signal.SIGKILL)


def test_a_port_that_is_taken_is_named() -> None:
    with FakeTelegram() as first:
        port = int(first.base_url.rsplit(":", 1)[1])
        with pytest.raises(RuntimeError, match=f"is port {port} free"):
            FakeTelegram(port=port).start()


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(
            port=0, rate=None, chat_burst=None, latency=1.5, tokens=("1:a", "2:b"), keep_text=True, stars=0.5
        ),
    ],
)
def test_options_survive_the_command_line(options: Options) -> None:
    given = vars(_parser().parse_args(arguments(options)))
    given.pop("follow_parent")
    assert Options(**{**given, "tokens": tuple(given["tokens"])}) == options


def test_the_limits_given_at_the_start_are_in_force_and_come_back_with_a_reset() -> None:
    with FakeTelegram(rate=7, group_burst=None) as telegram:
        assert (telegram.limits()["rate"], telegram.limits()["group_burst"]) == (7, None)
        assert telegram.limits(rate=9)["rate"] == 9
        telegram.reset()
        assert telegram.limits()["rate"] == 7
