"""As many workers as was decided, kept by the supervisor."""

import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longwave.core.scaling import Limits
from longwave.jobs.profiles import PROFILES
from longwave.ops.models import Scaling
from longwave.ops.scaling import deciding, keeping
from longwave.ops.scaling.deciding import Decider
from longwave.ops.scaling.load import Group
from longwave.ops.supervisor import Child, Member

FILES = Group("files", PROFILES["files"].queues, 2, Limits(1, 4))
BOTS = Group("bots", PROFILES["bots"].queues, 2, Limits(2, 4))


def test_the_reason_says_how_many_are_still_leaving(sqlite: str) -> None:
    members = [Member("auto-files-1", 10, True), Member("auto-send-1", 11, True)]
    supervisor = SimpleNamespace(members=lambda: members)
    leaving = partial(keeping._count_leaving, supervisor)
    (look,) = Decider([FILES], "host:1", leaving=leaving).turn()
    assert look.decision.reason == "nothing runs or waits; 1 is the minimum; 1 is still leaving"
    members.append(Member("auto-files-2", 12, True))
    (look,) = Decider([FILES], "host:1", leaving=leaving).turn()
    assert look.decision.reason.endswith("; 2 are still leaving")


def test_a_group_that_another_process_decides_for_has_no_workers_here(sqlite: str) -> None:
    Decider([FILES], "host:1").turn()
    decider = Decider([FILES, BOTS], "host:2")
    members = [Member("auto-files-1", 10, False)]
    kept: list[list[Child]] = []
    supervisor = SimpleNamespace(members=lambda: members, keep=kept.append)
    keeping._act(supervisor, [FILES, BOTS], lambda group, name: Child(name, [group.name]), decider.turn())
    assert kept == [[Child("auto-bots-1", ["bots"]), Child("auto-bots-2", ["bots"])]]


def test_a_look_that_is_late_does_not_keep_what_was_left(
    sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, looks, nobody_comes = deciding.hold, threading.Event(), threading.Event()

    def hold_late(*args: Any) -> bool:
        looks.set()
        nobody_comes.wait(0.3)
        return hold(*args)

    class Stopped(SimpleNamespace):
        def run(self) -> int:
            self.on_ready()
            assert looks.wait(10)
            return 0

    monkeypatch.setattr(deciding, "hold", hold_late)
    supervisor: Any = Stopped(run_folder=tmp_path, members=list, keep=lambda _: None)
    assert keeping.keep([FILES], supervisor, lambda group, name: Child(name, []), every=1) == 0
    for thread in threading.enumerate():
        if thread.name == "autoscale":
            thread.join()
    assert Scaling.objects.get(group="files").owner == ""
