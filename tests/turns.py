"""Tests that must have the machine to themselves, where several run at a time.

What is judged to the millisecond, as a rate is, does not bear another test beside it that kills and starts processes.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def taken(folder: Path, *, alone: bool) -> Iterator[None]:
    """A turn among all who name the same folder: beside others, or when they have ended theirs."""
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # who waits for the room holds the door: nobody overtakes him
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
