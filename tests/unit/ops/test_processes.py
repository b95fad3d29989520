"""Which processes are ours: never judged by the pid alone."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from longwave.ops import processes
from tests.unit.ops.families import CALM, WITH_CHILDREN, until


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(WITH_CHILDREN, start_new_session=True) as leader:
        until(lambda: len(processes.family(leader.pid)) == 3)
        yield leader
        processes.kill_family(leader.pid)


def test_a_family_is_killed_to_the_last_member(family: subprocess.Popen[bytes]) -> None:
    assert processes.kill_family(family.pid)
    assert processes.family(family.pid) == []
    assert family.wait() == -signal.SIGKILL


def test_a_dead_child_is_seen_and_not_reaped(family: subprocess.Popen[bytes]) -> None:
    assert not processes.is_dead(family.pid)
    family.kill()
    until(lambda: processes.is_dead(family.pid))
    assert processes.is_dead(family.pid)
    assert family.wait() == -signal.SIGKILL


def test_leftovers_of_a_living_leader_are_found(family: subprocess.Popen[bytes]) -> None:
    assert processes.end_leftovers(processes.record("x", family.pid, WITH_CHILDREN)) >= 3
    assert processes.family(family.pid) == []


def test_a_pid_that_was_given_to_somebody_else_is_left_alone(family: subprocess.Popen[bytes]) -> None:
    ours = processes.record("x", family.pid, WITH_CHILDREN)
    assert processes.end_leftovers(replace(ours, started=ours.started - 60)) == 0
    assert processes.end_leftovers(replace(ours, command=["sh", "-c", "something else"])) == 0
    assert len(processes.family(family.pid)) == 3


def test_orphans_of_a_dead_leader_are_ended_when_they_run_its_command() -> None:
    forks = ["python3", "-c", "import os, time; os.fork(); time.sleep(60)"]
    with subprocess.Popen(forks, start_new_session=True) as leader:
        until(lambda: len(processes.family(leader.pid)) == 2)
        old = processes.record("x", leader.pid, forks)
        leader.kill()
        until(lambda: len(processes.family(leader.pid)) == 1)
        assert processes.end_leftovers(replace(old, command=CALM)) == 0
        assert processes.end_leftovers(old) == 1
        assert processes.family(leader.pid) == []


def test_a_record_survives_being_written_down(tmp_path: Path) -> None:
    mine = processes.record("me", os.getpid(), ["python"], holds_work=True)
    processes.save(tmp_path / "children.json", [mine])
    assert processes.load(tmp_path / "children.json") == [mine]


@pytest.mark.parametrize("content", ["", "{", '[{"pid": 1}]', "[1]", "null"])
def test_a_damaged_file_is_no_records(tmp_path: Path, content: str) -> None:
    (tmp_path / "children.json").write_text(content)
    assert processes.load(tmp_path / "children.json") == []
