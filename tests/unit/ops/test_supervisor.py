"""The supervisor with real processes: start, restart, stop, and what a kill leaves behind."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from longwave.core.errors import LongwaveError
from longwave.ops import processes
from longwave.ops.output import Output
from longwave.ops.supervisor import Child, ChildTrouble, Supervisor
from tests.unit.ops.families import CALM, STUBBORN, WITH_CHILDREN, until

Run = Callable[..., AbstractContextManager[Supervisor]]


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def run(tmp_path: Path, said: io.StringIO) -> Run:
    """Run a supervisor in a thread until the block ends."""

    @contextmanager
    def start(*children: Child, **options: object) -> Iterator[Supervisor]:
        ready = threading.Event()
        output = Output(said, names=[child.name for child in children])
        supervisor = Supervisor(
            children,
            run_folder=tmp_path,
            output=output,
            on_ready=ready.set,
            **options,  # type: ignore[arg-type]
        )
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            assert ready.wait(10)
            yield supervisor
        finally:
            supervisor.stop()
            thread.join(15)
            assert not thread.is_alive()

    return start


def pids(folder: Path) -> dict[str, int]:
    return {record.name: record.pid for record in processes.load(folder / "children.json")}


def families(folder: Path) -> list[psutil.Process]:
    return [process for pid in pids(folder).values() for process in processes.family(pid)]


def gone(found: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in found)


def test_stopping_leaves_no_process(run: Run, tmp_path: Path) -> None:
    with run(Child("family", WITH_CHILDREN, rank=0), Child("calm", CALM)):
        until(lambda: len(families(tmp_path)) == 4)
        found = families(tmp_path)
    assert gone(found)
    assert pids(tmp_path) == {}


def test_a_killed_child_is_started_again(run: Run, tmp_path: Path, said: io.StringIO) -> None:
    with run(Child("calm", CALM)):
        first = pids(tmp_path)["calm"]
        os.kill(first, signal.SIGKILL)
        until(lambda: pids(tmp_path).get("calm", first) != first)
    assert "child ended child=calm exit_code=-9" in said.getvalue()


def test_a_dead_child_s_family_is_killed_and_its_work_returned_before_the_next_one(
    run: Run, tmp_path: Path
) -> None:
    returned = tmp_path / "returned"

    def return_work(pids: list[int]) -> list[str]:
        alive = [process for pid in pids for process in processes.family(pid)]
        return ["sh", "-c", f"echo {pids} alive={len(alive)} >> {returned}"]

    with run(Child("family", WITH_CHILDREN, rank=0, holds_work=True), return_work=return_work):
        until(lambda: len(families(tmp_path)) == 3)
        first, members = pids(tmp_path)["family"], families(tmp_path)
        os.kill(first, signal.SIGKILL)
        until(lambda: returned.exists() and returned.read_text())
        assert gone(members)
        assert returned.read_text() == f"[{first}] alive=0\n"


def test_a_child_that_holds_nothing_needs_no_errand(run: Run, tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def return_work(dead: list[int]) -> list[str]:
        asked.append(dead)
        return ["true"]

    with run(Child("calm", CALM), return_work=return_work):
        first = pids(tmp_path)["calm"]
        os.kill(first, signal.SIGKILL)
        until(lambda: pids(tmp_path).get("calm", first) != first)
    assert asked == []


def test_a_child_that_keeps_dying_is_started_ever_more_slowly(run: Run, said: io.StringIO) -> None:
    with run(Child("broken", ["false"])):
        until(lambda: "starting_again_in=0.4" in said.getvalue())
    assert "starting_again_in=0.2" in said.getvalue()


def test_a_child_that_ignores_sigterm_is_killed_with_its_family(
    run: Run, tmp_path: Path, said: io.StringIO
) -> None:
    with run(Child("stubborn", STUBBORN, rank=0, holds_work=True), stop_within=(0.3, 0.4, 0.5)):
        until(lambda: len(families(tmp_path)) >= 2)
        stubborn, found = pids(tmp_path)["stubborn"], families(tmp_path)
    assert gone(found)
    assert "child killed child=stubborn" in said.getvalue()
    # What it held could not be handed over: the next start returns it.
    assert pids(tmp_path) == {"stubborn": stubborn}


def test_the_second_order_to_stop_kills_at_once(run: Run, tmp_path: Path) -> None:
    with run(Child("stubborn", STUBBORN)) as supervisor:
        until(lambda: len(families(tmp_path)) >= 2)
        found = families(tmp_path)
        ordered = time.monotonic()
        supervisor.stop()
        supervisor.stop()
        until(lambda: gone(found))
        assert time.monotonic() - ordered < 3


def test_what_others_need_stops_last(run: Run, said: io.StringIO) -> None:
    def speaks(name: str) -> list[str]:
        return ["sh", "-c", f"trap 'echo {name} stops; exit 0' TERM; echo up; while :; do sleep 0.02; done"]

    with run(
        Child("last", speaks("last"), rank=2), Child("mid", speaks("mid")), Child("first", speaks("first"), 0)
    ):
        until(lambda: said.getvalue().count("| up") == 3)
    stops = [line.split()[-2] for line in said.getvalue().splitlines() if line.endswith("stops")]
    assert stops == ["first", "mid", "last"]


def test_setup_runs_to_its_end_before_the_children_start(run: Run, tmp_path: Path) -> None:
    made = tmp_path / "made"
    needs_it = Child("child", ["sh", "-c", f"test -e {made} && sleep 60"])
    with run(needs_it, setup=[Child("setup", ["sh", "-c", f"sleep 0.1; touch {made}"])]) as supervisor:
        assert supervisor.seats[0].failures == 0
        assert "child" in pids(tmp_path)


def _alone(folder: Path, *children: Child, **options: object) -> Supervisor:
    return Supervisor(children, run_folder=folder, output=Output(io.StringIO(), names=[]), **options)  # type: ignore[arg-type]


def test_a_setup_that_fails_stops_everything(tmp_path: Path) -> None:
    with pytest.raises(ChildTrouble, match=r"`migrate` failed \(exit code 1\)"):
        _alone(tmp_path, Child("calm", CALM), setup=[Child("migrate", ["false"])]).run()
    assert pids(tmp_path) == {}


def test_a_child_that_never_gets_ready_takes_the_others_down(tmp_path: Path) -> None:
    with pytest.raises(ChildTrouble, match=r"broker ended before it was ready \(exit code 1\)"):
        _alone(tmp_path, Child("calm", CALM), Child("broker", ["false"], is_ready=lambda: False)).run()
    assert pids(tmp_path) == {}


def test_a_passing_obstacle_at_a_restart_is_waited_out(run: Run, tmp_path: Path, said: io.StringIO) -> None:
    obstacles: list[str] = []

    def before() -> None:
        if obstacles:
            raise LongwaveError(obstacles.pop())

    with run(Child("calm", CALM, before=before)):
        first = pids(tmp_path)["calm"]
        obstacles.append("port taken")
        os.kill(first, signal.SIGKILL)
        until(lambda: pids(tmp_path).get("calm", first) != first)
    assert "child does not start child=calm reason=port taken" in said.getvalue()


@contextmanager
def process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process of its own, so that it can be killed."""
    command = [sys.executable, "-m", "tests.unit.ops.families", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        try:
            assert any("ready" in line for line in started.stdout)
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_and_the_exit_code_is_0(tmp_path: Path, order: signal.Signals) -> None:
    with process(tmp_path) as supervisor:
        until(lambda: len(families(tmp_path)) == 4)
        found = families(tmp_path)
        supervisor.send_signal(order)
        assert supervisor.wait(10) == 0
    assert gone(found)


def test_after_kill_9_the_next_start_ends_the_leftovers_and_returns_their_work(
    run: Run, tmp_path: Path
) -> None:
    with process(tmp_path) as supervisor:
        until(lambda: len(families(tmp_path)) == 4)
        found, before = families(tmp_path), pids(tmp_path)
        supervisor.kill()
        supervisor.wait(10)
    assert not gone(found)  # nobody ended them
    returned = tmp_path / "returned"
    with run(Child("other", CALM), return_work=lambda dead: ["sh", "-c", f"echo {dead} > {returned}"]):
        assert gone(found)
        until(lambda: returned.exists() and returned.read_text())
        assert returned.read_text() == f"[{before['family']}]\n"
        assert pids(tmp_path).keys() >= {"other"}


# --- a changing set ---------------------------------------------------------------------------------------------------


def test_children_come_and_go_while_the_others_stay(run: Run, tmp_path: Path, said: io.StringIO) -> None:
    first, second, third = (Child(name, CALM) for name in ("first", "second", "third"))
    with run(first, second) as supervisor:
        before = pids(tmp_path)
        supervisor.keep([second, third])
        until(
            lambda: (
                [(one.name, one.is_leaving, one.pid is not None) for one in supervisor.members()]
                == [("second", False, True), ("third", False, True)]
            )
        )
        assert pids(tmp_path)["second"] == before["second"]
        supervisor.keep([])
        until(lambda: supervisor.members() == [])
    assert "child has left child=first exit_code=-15" in said.getvalue()


def test_a_child_that_leaves_has_all_the_time_it_needs_and_is_not_started_again(
    run: Run, tmp_path: Path
) -> None:
    may_end = tmp_path / "may end"
    working = f"trap 'while [ ! -e \"{may_end}\" ]; do sleep 0.02; done; exit 0' TERM; echo up; "
    busy = Child("busy", ["sh", "-c", working + "while :; do sleep 0.02; done"], holds_work=True)
    with run(
        busy, Child("calm", CALM), return_work=lambda dead: ["touch", str(tmp_path / "returned")]
    ) as here:
        until(lambda: len(families(tmp_path)) == 3)
        pid = pids(tmp_path)["busy"]
        here.keep([Child("calm", CALM)])
        until(lambda: here.members()[0].is_leaving)
        assert here.members()[0].pid == pid
        here.keep([busy, Child("calm", CALM)])  # wanted again, when the one of that name has left
        assert pids(tmp_path)["busy"] == pid
        may_end.touch()
        until(lambda: pids(tmp_path).get("busy", pid) != pid)
        assert not (tmp_path / "returned").exists()


def test_the_work_of_one_that_leaves_badly_is_returned(run: Run, tmp_path: Path) -> None:
    returned = tmp_path / "returned"
    broken = Child(
        "broken", ["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.02; done"], holds_work=True
    )
    with run(broken, return_work=lambda dead: ["sh", "-c", f"echo {dead} > {returned}"]) as supervisor:
        pid = pids(tmp_path)["broken"]
        until(lambda: len(families(tmp_path)) == 2)  # its trap is set
        supervisor.keep([])
        until(lambda: returned.exists() and returned.read_text())
    assert returned.read_text() == f"[{pid}]\n"


def test_one_that_has_just_died_by_itself_can_be_let_go(tmp_path: Path, said: io.StringIO) -> None:
    here = Supervisor([], run_folder=tmp_path, output=Output(said, names=["brief"]))
    brief, calm = Child("brief", ["sh", "-c", "exit 3"]), Child("calm", CALM)
    here.keep([brief, calm])
    until(lambda: here._look_after() or len(pids(tmp_path)) == 2)
    until(lambda: processes.is_dead(pids(tmp_path)["brief"]))
    here.keep([calm])
    until(lambda: here._look_after() or [one.name for one in here.members()] == ["calm"])
    here._stop_all()
    assert "child has left child=brief exit_code=3" in said.getvalue()


def test_work_that_cannot_be_returned_now_is_returned_later(
    run: Run, tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longwave.ops.supervisor.BACKOFF", (0.05, 0.1))
    returned = tmp_path / "returned"

    def errand(dead: list[int]) -> list[str]:
        is_possible = "work is returned later" in said.getvalue()
        return ["touch", str(returned)] if is_possible else [str(tmp_path / "no such program")]

    with run(Child("worker", CALM, holds_work=True), return_work=errand):
        psutil.Process(pids(tmp_path)["worker"]).kill()
        until(returned.exists)


def test_one_that_keeps_dying_can_be_let_go(run: Run, said: io.StringIO) -> None:
    with run(Child("broken", ["false"])) as supervisor:
        until(lambda: "starting_again_in=0.4" in said.getvalue())
        supervisor.keep([])
        until(lambda: supervisor.members() == [])


def test_one_that_is_leaving_is_killed_when_all_stop(run: Run, tmp_path: Path) -> None:
    with run(Child("stubborn", STUBBORN, rank=0), stop_within=(0.3, 0.4, 0.5)) as supervisor:
        until(lambda: len(families(tmp_path)) >= 2)
        found = families(tmp_path)
        supervisor.keep([])
        until(lambda: supervisor.members()[0].is_leaving)
    assert gone(found)


def test_one_that_takes_its_time_is_told_again_before_it_is_killed(run: Run, said: io.StringIO) -> None:
    twice = "n=0; trap 'n=$((n+1)); [ $n = 2 ] && exit 0' TERM; echo up; while :; do sleep 0.02; done"
    with run(Child("slow", ["sh", "-c", twice], rank=0), stop_within=(20, 20, 20), hurry_after=0.2):
        until(lambda: "| up" in said.getvalue())
    assert "child killed" not in said.getvalue()
    assert "stopping jobs_given_back_after=0.2" in said.getvalue()
