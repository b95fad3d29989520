"""A folder of counts: a small file for each process that counts, and one for all that are dead.

prometheus_client writes the files (its multi-process mode), each mapped into its process' memory: what was counted
outlives a kill -9. Children of a worker come and go, so the counts of dead ones are added up. That too can be
interrupted at any moment: a sum counts from the moment at which the manifest names it, and what it was made of is
ignored from then on.

Whoever counts holds a lock for as long as it lives, on a file beside its own. A pid would not do: processes that share
the folder need not see each other's (containers), and a pid is used again.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

MANIFEST = "sums.json"
LOCK = "lock"
ALIVE = ".alive"
ADDED_UP = ("counter", "histogram", "summary")
"""The rest are gauges, of the user's own code: they count only while their process lives."""


def identity_in(folder: Path) -> Callable[[], str]:
    """What tells this process' mark in the names of its files there, and lets it count as alive from then on.

    Each process that is forked has a mark and a lock of its own, from the moment at which it first asks.
    """
    return _Identity(folder)


class _Identity:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid, self._mark = 0, ""
        self._lock: int | None = None
        os.register_at_fork(after_in_child=self._let_go)

    def __call__(self) -> str:
        pid = os.getpid()
        if self._pid != pid:
            mark = f"{pid}-{secrets.token_hex(4)}"
            self._lock = _hold(self._folder / f"{mark}{ALIVE}")
            self._pid, self._mark = pid, mark
        return self._mark

    def _let_go(self) -> None:
        # While a child has it open too, the parent would seem to live.
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _hold(path: Path) -> int:
    """Lock it until this process ends, or becomes another program. Nobody ever sees it unlocked before."""
    draft = path.with_suffix(".new")
    file = os.open(draft, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        draft.replace(path)
    except BaseException:
        os.close(file)
        raise
    return file


def prepare(folder: Path, *, is_shared: bool) -> None:
    """Make the folder, for its owner alone. An unshared one belongs to whoever calls: what it held is deleted."""
    if not is_shared:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def forget(folder: Path) -> None:
    """Begin anew, unless somebody who lives counts there: an earlier version's figures go. Raises OSError."""
    if not folder.is_dir():
        return
    with _locked(folder):
        files = list(folder.glob("*.db"))
        locks = _locks(folder)
        if not any(_lives(path, locks) for path in files if _sum_of(path) is None):
            for path in (*files, *_free(folder, locks), folder / MANIFEST):
                path.unlink(missing_ok=True)


def read(folder: Path) -> list[Metric]:
    """Everything that was counted in the folder. Raises OSError."""
    with _locked(folder):
        files = [str(path) for path in _settled(folder)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return list(merged)


def settle(folder: Path) -> None:
    """Add up what the dead have counted, so that their files do not pile up. Raises OSError."""
    with _locked(folder):
        _settled(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Not left to the file's end: a child that was just forked has it open too.
            fcntl.flock(file, fcntl.LOCK_UN)


def _settled(folder: Path) -> list[Path]:
    """The files that count, at most one sum of each type among them."""
    generation, absorbed = _manifest(folder)
    files, dead = [], []
    found = sorted(folder.glob("*.db"))
    locks = _locks(folder)  # after that: whoever has a file has had its lock before
    for path in found:
        is_dead = _sum_of(path) is None and not _lives(path, locks)
        is_empty = not path.stat().st_size
        if path.name in absorbed or _sum_of(path) not in (None, generation) or (is_dead and is_empty):
            path.unlink()  # its counts are in the sum; or nobody got to name this sum; or its process died at once
        elif not is_empty:
            files.append(path)
            dead += [path] if is_dead else []
    settled = _added_up(folder, files, dead, generation + 1) if dead else files
    for path in _free(folder, locks):
        path.unlink()
    return settled


def _locks(folder: Path) -> dict[str, bool]:
    """The mark of everybody who has begun to count → whether they live."""
    return {path.name.removesuffix(ALIVE): _is_held(path) for path in folder.glob(f"*{ALIVE}")}


def _is_held(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False


def _free(folder: Path, locks: Mapping[str, bool]) -> list[Path]:
    return [folder / f"{mark}{ALIVE}" for mark, is_held in locks.items() if not is_held]


def _lives(path: Path, locks: Mapping[str, bool]) -> bool:
    """Whether the process whose file it is lives. A program that a job has started may count without a lock."""
    mark = path.stem.rpartition("_")[2]
    return locks[mark] if mark in locks else psutil.pid_exists(_pid_of(path))


def _added_up(folder: Path, files: Sequence[Path], dead: Sequence[Path], generation: int) -> list[Path]:
    old = [*dead, *(path for path in files if _sum_of(path) is not None)]
    sums = _write_sums(folder, old, generation)
    draft = folder / f"{MANIFEST}.new"
    draft.write_text(json.dumps({"generation": generation, "absorbed": [path.name for path in old]}))
    draft.replace(folder / MANIFEST)  # from here on the new sums count, and the old files do not
    for path in old:
        path.unlink()
    return [*(path for path in files if path not in old), *sums]


def _write_sums(folder: Path, files: Iterable[Path], generation: int) -> list[Path]:
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for path in files:
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            sums[_type_of(path)][key] += value
    return [_write(folder / f"{kind}_sum-{generation}.db", sums[kind]) for kind in ADDED_UP if kind in sums]


def _write(path: Path, values: dict[str, float]) -> Path:
    file = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    for key, value in values.items():
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    return path


def _manifest(folder: Path) -> tuple[int, set[str]]:
    """The sums that count, and the files that went into them."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
        return found["generation"], set(found["absorbed"])
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged when the machine went down
        return 0, set()


def _type_of(path: Path) -> str:
    """`counter` of `counter_4711-0a1b2c3d.db`."""
    return path.stem.partition("_")[0]


def _sum_of(path: Path) -> int | None:
    """The generation of a sum, `counter_sum-12.db`; None for a process' own file."""
    mark, _, number = path.stem.rpartition("_")[2].partition("-")
    return int(number) if mark == "sum" else None


def _pid_of(path: Path) -> int:
    pid = path.stem.rpartition("_")[2].partition("-")[0]
    return int(pid) if pid.isdecimal() else 0
