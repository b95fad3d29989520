"""Counts of many processes in one folder: exact, and never going back, whoever dies when."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prometheus_client.mmap_dict import MmapedDict

from longwave.ops.metrics import folder as counts
from longwave.ops.metrics import page

COUNTING = """
import sys
from pathlib import Path
from longwave.ops.metrics import folder
import os
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from prometheus_client import Counter, Gauge, Histogram, values
values.ValueClass = values.MultiProcessValue(folder.identity_in(Path(sys.argv[1])))
done = Counter("done_total", "Done", ("what",), registry=None)
took = Histogram("took_seconds", "Took", registry=None, buckets=(1, 10))
Gauge("open", "Open", registry=None, multiprocess_mode="livesum").set(1)
done.labels("work").inc(int(sys.argv[2]))
took.observe(5)
if os.fork() == 0:
    done.labels("work").inc(1)
    os._exit(0)
os.wait()
if "--with-idle-child" not in sys.argv or os.fork() == 0:
    print("counted", flush=True)
sys.stdin.read()
"""


class Counting:
    """A process that has counted so many, and one more in a child that ended; it lives until it is killed."""

    def __init__(self, folder: Path, count: int, *options: str) -> None:
        command = [sys.executable, "-c", COUNTING, str(folder), str(count), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"counted\n"

    def kill(self) -> None:
        self.kill_alone()
        self._process.communicate()

    def kill_alone(self) -> None:
        """A child that is idle goes on until `kill`."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    counts.prepare(tmp_path / "counts", is_shared=True)
    return tmp_path / "counts"


@pytest.fixture(scope="module")
def left_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two dead processes and their children left."""
    folder = tmp_path_factory.mktemp("dead")
    for count in (1, 2):
        Counting(folder, count).kill()
    return folder


def sums(folder: Path) -> dict[str, float]:
    return {sample.name: sample.value for metric in counts.read(folder) for sample in metric.samples}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.db"))


def test_what_the_dead_have_counted_is_added_up_and_their_files_go(folder: Path) -> None:
    processes = [Counting(folder, count) for count in (1, 2)]
    assert (sums(folder)["done_total"], sums(folder)["open"]) == (5, 2)
    processes[0].kill()
    assert (sums(folder)["done_total"], sums(folder)["open"]) == (5, 1)
    processes[1].kill()
    for _ in range(3):
        found = sums(folder)
        assert (found["done_total"], found["took_seconds_count"], found["took_seconds_sum"]) == (5, 2, 10)
        assert files(folder) == ["counter_sum-3.db", "histogram_sum-3.db"]
    third = Counting(folder, 10)
    assert sums(folder)["done_total"] == 16
    third.kill()
    counts.settle(folder)
    assert (sums(folder)["done_total"], len(files(folder))) == (16, 2)


def test_one_that_lives_is_not_added_up_though_its_pid_is_unknown_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: False)  # as in another container
    alive = Counting(folder, 1)
    mine = [name for name in files(folder) if "_sum-" not in name]
    for _ in range(2):
        assert (sums(folder)["done_total"], sums(folder)["open"]) == (2, 1)
    assert set(files(folder)) < {*mine, "counter_sum-1.db", "histogram_sum-1.db"}  # its child's are added up
    counts.forget(folder)
    assert sums(folder)["done_total"] == 2
    alive.kill()
    assert sums(folder)["done_total"] == 2
    assert files(folder) == ["counter_sum-2.db", "histogram_sum-2.db"]


def test_a_dead_one_is_added_up_though_its_pid_is_used_again(
    folder: Path, left_by_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(left_by_two, folder, dirs_exist_ok=True)
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: True)
    assert sums(folder)["done_total"] == 5
    assert len(files(folder)) == 2
    assert not list(folder.glob(f"*{counts.ALIVE}"))


def test_a_child_that_counts_nothing_does_not_keep_its_parent_alive(folder: Path) -> None:
    parent = Counting(folder, 1, "--with-idle-child")
    parent.kill_alone()
    assert (sums(folder)["done_total"], len(files(folder))) == (2, 2)
    parent.kill()


class Killed(BaseException):
    """As kill -9 at that moment."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file that was just open
@pytest.mark.parametrize("moment", range(8))
def test_adding_up_may_be_interrupted_at_any_moment(
    folder: Path, moment: int, monkeypatch: pytest.MonkeyPatch, left_by_two: Path
) -> None:
    shutil.copytree(left_by_two, folder, dirs_exist_ok=True)
    steps = 0

    def dying(real):  # type: ignore[no-untyped-def]
        def step(*given, **more):  # type: ignore[no-untyped-def]
            nonlocal steps
            if steps == moment:
                raise Killed
            steps += 1
            return real(*given, **more)

        return step

    with monkeypatch.context() as patched:
        for owner, name in ((MmapedDict, "close"), (Path, "write_text"), (Path, "replace"), (Path, "unlink")):
            patched.setattr(owner, name, dying(getattr(owner, name)))
        with pytest.raises(Killed):
            counts.settle(folder)
    assert sums(folder)["done_total"] == 5
    assert sums(folder)["took_seconds_count"] == 2
    assert len(files(folder)) == 2


def test_a_file_that_a_process_has_only_just_made_is_no_trouble(folder: Path) -> None:
    mine, dead = folder / f"counter_{os.getpid()}-00.db", folder / f"counter_{2**22 + 1}-00.db"
    mine.touch()
    dead.touch()
    assert sums(folder) == {}
    assert files(folder) == [mine.name]


def test_a_damaged_manifest_costs_the_sums_and_not_the_page(folder: Path, left_by_two: Path) -> None:
    shutil.copytree(left_by_two, folder, dirs_exist_ok=True)
    counts.settle(folder)
    (folder / counts.MANIFEST).write_text('{"generation"')
    assert sums(folder) == {}
    Counting(folder, 1).kill()
    assert sums(folder)["done_total"] == 2


def test_an_earlier_run_s_counts_are_forgotten_unless_somebody_still_counts(folder: Path) -> None:
    Counting(folder, 1).kill()
    alive = Counting(folder, 1)
    counts.forget(folder)
    assert sums(folder)["done_total"] == 4
    alive.kill()
    counts.forget(folder)
    assert (sums(folder), files(folder)) == ({}, [])
    counts.forget(folder / "none")


def test_a_folder_of_one_s_own_is_emptied(folder: Path, left_by_two: Path) -> None:
    shutil.copytree(left_by_two, folder, dirs_exist_ok=True)
    counts.prepare(folder, is_shared=False)
    assert (sums(folder), oct(folder.stat().st_mode)[-3:]) == ({}, "700")


def test_the_page_goes_on_without_counts_that_cannot_be_read(folder: Path) -> None:
    (folder / f"counter_{os.getpid()}-00.db").write_bytes(b"no such format")
    text, _ = page.render("", (), folder)
    assert b'longwave_scrape_errors_total{part="events"} 1.0' in text
    assert b"longwave_info" in page.render("", (), folder / "none")[0]
