"""The outside judge of what jobs really did: a process of its own, which jobs tell and which keeps what it was told.

    with standing(folder) as witness:
        …                      # processes whose environment has witness.environment
        witness.records()

Its lines are in the order in which the tellers said them, over all processes: whoever is told by one who has spoken
speaks after him. So order needs no clock, and a clock that is set changes nothing.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.waiting import until

PLACE = "TEST_WITNESS"
LONGEST = 65536


class Witness:
    """A running witness, and what it was told so far."""

    def __init__(self, folder: Path) -> None:
        self._place, self._file = folder / "socket", folder / "told"
        self.environment = {PLACE: str(self._place)}
        command = [sys.executable, __file__, str(self._place), str(self._file)]
        self._process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        )
        until(self._place.exists, 20, lambda: "the witness does not come")

    def tell(self, **facts: Any) -> None:
        """Say something here, in the test."""
        _say(self._place, facts)

    def records(self) -> list[dict[str, Any]]:
        """All that was said before this call."""
        mark = uuid.uuid4().hex
        self.tell(what="asked", mark=mark)
        until(lambda: mark in self._file.read_text(), 20, lambda: "the witness says nothing")
        told = [json.loads(line) for line in self._file.read_text().splitlines()]
        return [record for record in told if record["what"] != "asked"]

    def leave(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def standing() -> Iterator[Witness]:
    """A witness, in a folder that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="lw-") as folder:
        witness = Witness(Path(folder))
        try:
            yield witness
        finally:
            witness.leave()


def tell(**facts: Any) -> None:
    """Say something, in a job. It has been said when this returns, whatever becomes of the process."""
    _say(Path(os.environ[PLACE]), facts)


def _say(place: Path, facts: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(json.dumps(facts).encode(), str(place))


def _listen(place: str, file: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear, Path(file).open("ab", buffering=0) as paper:
        ear.bind(place)
        while True:
            paper.write(ear.recv(LONGEST) + b"\n")


if __name__ == "__main__":
    _listen(*sys.argv[1:])
