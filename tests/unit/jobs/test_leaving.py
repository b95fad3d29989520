"""How a worker's main process is told to end or to begin anew, and what it does then: in a process of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("home")

HEAD = """
import os, signal, subprocess, sys, threading, time
import longwave
longwave.setup()
from longwave.jobs import leaving, ringer, runner, stop

def tell(word):
    os.write(1, f"{word} ".encode())

def run(command, environ):
    if stop.CAME_BACK in environ:
        tell("begins-anew:" + environ[stop.CAME_BACK].split()[0])
    else:
        tell(f"gives-back:{command[command.index('--exit-code') + 1]}")
    os._exit(0)

def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

leaving._execute = run
forever = threading.Event()
for scene in sys.argv[1:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        os.setsid()
        exec(scene)
        os._exit(0)
"""


def said(*scenes: str) -> list[str]:
    """What these scenes tell, each in a main process of its own."""
    process = subprocess.run(
        [sys.executable, "-c", HEAD, *scenes], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


def test_what_the_worker_orders_for_itself_leaves_jobs_their_time_until_somebody_else_tells_it_to_stop() -> (
    None
):
    assert said(
        """
end = leaving.Leaving(grace=0.05)
end.restart("memory_limit_reached")
assert not end._last_word.locked()
threading.Event().wait(0.3)
tell(f"cut-off={end._last_word.locked()}")
end.stop(7)
forever.wait()
""",
        """
end = leaving.Leaving(grace=30)
end.restart("consumer_stuck", within=0.05)
forever.wait()
""",
    ) == ["cut-off=False", "gives-back:7", "begins-anew:consumer_stuck"]


def test_a_child_that_is_forked_as_the_worker_is_told_to_end_tells_it_nothing() -> None:
    assert said("""
end = leaving.Leaving(grace=0.05)
end.obey_signals()
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)
os.waitpid(child, 0)
threading.Event().wait(0.3)
tell(f"cut-off={end._last_word.locked()}")
os.kill(os.getpid(), signal.SIGTERM)
forever.wait()
""") == ["cut-off=False", "gives-back:0"]


def test_told_to_stop_while_it_is_about_to_begin_anew_it_ends() -> None:
    assert said(
        """
end = leaving.Leaving(grace=30)
end.restart("asked_to")
def told_at_the_last_moment():
    end.stop()
leaving._settle = told_at_the_last_moment
tell(end.end())
""",
        """
end = leaving.Leaving(grace=30)
say = leaving.logs.say_at_once
def told_between(name, text):
    leaving.logs.say_at_once = say
    end.stop()  # as a signal does it, in the middle of restart()
leaving.logs.say_at_once = told_between
end.restart("memory_limit_reached")
threading.Event().wait(0.2)
tell(f"cut-off={end._last_word.locked()}")
tell(end.end())
""",
    ) == ["0", "cut-off=False", "0"]


def test_no_dead_child_is_left_lying_when_it_begins_anew() -> None:
    (told,) = said("""
import psutil
child = subprocess.Popen(["true"])
until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
def run(*_):
    tell(psutil.pid_exists(child.pid))
    os._exit(0)
leaving._execute = run
end = leaving.Leaving(grace=30)
end.restart("asked_to")
end.end()
""")
    assert told == "False"


HANG_UP = """
end = leaving.Leaving(grace=30)
end.obey_signals()
os.kill(os.getpid(), signal.SIGHUP)
until(lambda: end.is_ordered)
tell("stops" if end._stops else end._restarts_for)
"""

TERMINAL = """
import pty
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests run under
_, terminal = pty.openpty()
os.close(os.open(os.ttyname(terminal), os.O_RDWR))  # the first that a session opens is its own
"""

NOHUP = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
"""


def test_a_terminal_that_is_closed_ends_it_wherever_its_output_goes() -> None:
    assert said(TERMINAL + HANG_UP, TERMINAL + NOHUP + HANG_UP, HANG_UP) == ["stops", "asked_to", "asked_to"]


def test_the_time_that_jobs_have_is_said_as_the_most_that_it_can_be() -> None:
    scene = "from longwave import logs; logs.configure('INFO', 'console'); leaving.Leaving(grace=1800).stop()"
    process = subprocess.run([sys.executable, "-c", HEAD, scene], capture_output=True, text=True, timeout=60)
    assert "running jobs have up to 1800 s to end, unless told again" in process.stderr
