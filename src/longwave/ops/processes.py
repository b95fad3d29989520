"""Families of processes: a child in a session of its own, all that it started, and what is left of it later.

A pid alone proves nothing, it may have been given to somebody else since. A process is ours when its start
time and command line are the recorded ones.
"""

import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

CLOCK_STEP = 2.0
"""Seconds by which a start time may differ: it is computed from the wall clock, which may be corrected."""

LOOK_EVERY = 0.02
"""Seconds between looks at processes that were told to die."""


@dataclass(frozen=True, slots=True)
class Record:
    """A child as written down: enough to recognise it, and its family, after the supervisor died."""

    name: str
    pid: int
    started: float
    command: list[str]
    holds_work: bool


def record(name: str, pid: int, command: list[str], *, holds_work: bool = False) -> Record:
    """The record of a child that was just started."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:  # it is dead already
        started = time.time()
    return Record(name, pid, started, command, holds_work)


def save(path: Path, records: Iterable[Record]) -> None:
    """Replace the file at once, so that a kill leaves the old or the new one."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps([asdict(each) for each in records]), encoding="utf-8")
    draft.replace(path)


def load(path: Path) -> list[Record]:
    """What `save` wrote; nothing when there is no such file or it is damaged."""
    try:
        return [Record(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def family(session: int) -> list[psutil.Process]:
    """The living processes of a session. Zombies do not count: they only wait for somebody to look."""
    members = []
    for pid in psutil.pids():
        try:
            if (
                os.getsid(pid) == session
                and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE
            ):
                members.append(process)
        except (OSError, psutil.Error):
            continue  # gone meanwhile, or not ours to ask about
    return members


def kill_family(session: int, *, give_up_after: float = 5.0) -> bool:
    """SIGKILL all of a session, also what it starts meanwhile, until nothing lives. True when it is empty."""
    deadline = time.monotonic() + give_up_after
    while members := family(session):
        for process in members:
            _kill(process)
        if time.monotonic() > deadline:
            return False
        time.sleep(
            LOOK_EVERY
        )  # not psutil's wait: it would reap our children, and their exit codes with them
    return True


def leftovers(old: Record) -> list[psutil.Process]:
    """What still runs of a recorded child: itself and its session, as far as they are surely ours."""
    members = family(old.pid)
    if any(process.pid == old.pid for process in members):
        return members if _is(old) else []
    # Its leader is dead, so the session's number cannot have been given away while members live.
    # A second session of that number, whose leader died too, is told apart by the command line.
    return [process for process in members if _runs(process, old.command)]


def end_leftovers(old: Record, *, give_up_after: float = 5.0) -> int:
    """Kill them; how many there were. They outlived a supervisor that was killed: nobody hands over."""
    ended: set[int] = set()
    deadline = time.monotonic() + give_up_after
    while (members := leftovers(old)) and time.monotonic() < deadline:
        ended.update(process.pid for process in members)
        for process in members:
            _kill(process)
        time.sleep(LOOK_EVERY)
    return len(ended)


def is_dead(pid: int) -> bool:
    """Whether our child ended. It is not reaped: nobody else can get its pid while we still use it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def ask_to_end(pid: int) -> None:
    """SIGTERM to a child of ours. Popen's own way looks first, and reaps one that has just died."""
    os.kill(pid, signal.SIGTERM)


def _kill(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.Error:
        pass  # it was faster


def _is(old: Record) -> bool:
    try:
        process = psutil.Process(old.pid)
        return abs(process.create_time() - old.started) < CLOCK_STEP and _runs(process, old.command)
    except psutil.Error:
        return False


def _runs(process: psutil.Process, command: list[str]) -> bool:
    """Whether its arguments are the recorded ones. The program's own path may have been resolved."""
    try:
        return bool(process.cmdline()[1:] == command[1:])
    except psutil.Error:
        return False
