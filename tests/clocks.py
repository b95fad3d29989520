"""A clock for a test's own processes, which the test sets while they run."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

from tests import databases

HOUR = 3600
SOURCE = Path(__file__).parent / "set_clock.c"


class OwnClock:
    """The time of day in all processes that are started with its `environment`. Pauses last as long as ever."""

    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "clock", folder / "set_clock.so"
        self.set(0)
        _compile(library)
        self.environment = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(self._file)}

    def set(self, ahead: int) -> None:
        """Set it so many seconds ahead of the machine's, in all processes at once."""
        with self._file.open("r+b" if self._file.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", ahead))


def _compile(library: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        databases.missing("a clock of the test's own needs Linux and a C compiler")
    command = [str(compiler), "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True, text=True)
