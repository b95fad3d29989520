"""Small processes for tests: a supervisor on its own, and children that behave well or badly."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from longwave.ops.output import Output
from longwave.ops.supervisor import Child, Supervisor

CALM = ["sleep", "60"]
WITH_CHILDREN = ["sh", "-c", "sleep 60 & sleep 60 & wait"]
STUBBORN = ["sh", "-c", "trap '' TERM; sleep 60 & while :; do sleep 0.2; done"]


def until(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Wait for `condition`; fail when it does not come true."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def main(folder: Path) -> int:
    """Supervise a family and a calm child until a signal comes."""
    children = [Child("family", WITH_CHILDREN, rank=0, holds_work=True), Child("calm", CALM)]
    output = Output(sys.stdout, names=["family", "calm"])
    return Supervisor(
        children=children, run_folder=folder, output=output, on_ready=lambda: output.say("ready")
    ).run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
