"""Jobs whose ends are counted: LONGWAVE_MODULES names this module."""

import os
import time
from pathlib import Path

from longwave.jobs import job

HERE = Path(os.environ["LONGWAVE_HOME"])


@job("counted.work", retries=0, lease=1.0)
def work(number: int) -> None:
    if number % 5 == 0:
        raise LookupError(number)


@job("counted.hold", lease=1.0)
def hold() -> None:
    """Run until somebody lets all go."""
    (HERE / f"held-{os.getpid()}").touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)


@job("counted.deadly", max_crashes=1)
def deadly() -> None:
    os.kill(os.getpid(), 9)
