"""Jobs that tests submit to real workers: LONGWAVE_MODULES names this module there."""

import asyncio
import os
import time

from longwave.jobs import Again, job, job_context
from tests import witness


def _tell(number: int) -> None:
    witness.tell(what="did", number=number)


@job("room.work", lease=1.0, max_crashes=None)
def work(number: int) -> int:
    time.sleep(0.02)
    _tell(number)
    return number


@job("room.awaited", lease=1.0, max_crashes=None)
async def awaited(number: int) -> int:
    await asyncio.sleep(0.02)
    _tell(number)
    return number


@job("room.lane", queue="broadcast", lease=1.0, max_crashes=None)
def lane() -> Again:
    context = job_context.current()
    while not context.stopping():
        time.sleep(0.02)
    return Again(why="stopping")


@job("room.deadly", max_crashes=2)
def deadly() -> None:
    os.kill(os.getpid(), 9)
