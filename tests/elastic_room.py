"""Jobs for a pool that grows and shrinks, and a pool that is quick to do so: LONGWAVE_MODULES names this module."""

import os
import time
from pathlib import Path

from longwave.jobs import elastic, job
from tests import witness

elastic.CALM = float(os.environ["ELASTIC_CALM"])
elastic.LOOK_EVERY = elastic.CALM / 4


@job("elastic.quick")
def quick(number: int) -> None:
    """Over soon."""
    time.sleep(0.03)
    witness.tell(what="did", number=number)


@job("elastic.hold")
def hold(gate: str) -> None:
    """Run until the file is there."""
    witness.tell(what="holds", gate=gate)
    while not Path(gate).exists():
        time.sleep(0.01)
