"""One supervisor a data folder: a lock that the kernel frees when its holder dies, with a pid inside."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longwave.core.errors import Conflict


@contextmanager
def held(path: Path, what: str = "Longwave") -> Iterator[None]:
    """Hold the lock. Raises Conflict with the pid of who has it, and with what that is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(path)
            raise Conflict(
                f"{what} already runs on {path.parent.parent} (pid {pid}). "
                f"Stop it with Ctrl-C or `kill {pid}`, or set LONGWAVE_HOME to another data folder."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder(path: Path) -> int | None:
    """The pid of who holds the lock, None when nobody does."""
    try:
        with path.open(encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _pid(path)
    return None


def _pid(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except ValueError:  # between taking the lock and writing the pid
        return 0
