"""Jobs that leak, die, hang on or end at once: LONGWAVE_MODULES names this module."""

import os
import signal
import time

from longwave.jobs import job, job_context, memory, watchdog
from tests import witness

memory.EARLIEST = 0.0
if "STUCK_AFTER" in os.environ:
    watchdog.STUCK_AFTER, watchdog.LOOK_EVERY = float(os.environ["STUCK_AFTER"]), 0.5


def leave_a_trace(word: object) -> None:
    witness.tell(what="trace", word=str(word))


@job("health.short")
def short(number: int) -> None:
    time.sleep(0.02)
    leave_a_trace(number)


@job("health.stubborn", queue="import")
def stubborn(seconds: float) -> None:
    context = job_context.current()
    start = context.saved or 0
    leave_a_trace(f"begun-at-{start} attempt-{context.attempt}")
    if not start:
        context.checkpoint(5)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    leave_a_trace("ended")


hoard = []


@job("health.leak", queue="email")
def leak(number: int, seconds: float = 0) -> None:
    hoard.append(bytearray(os.urandom(1024) * 1024 * 40))
    time.sleep(seconds)
    leave_a_trace(f"{number} {os.getpid()}")


@job("health.abort")
def abort() -> None:
    leave_a_trace("abort")
    os.abort()


@job("health.killed")
def killed() -> None:
    context = job_context.current()
    leave_a_trace(f"attempt-{context.attempt} crashes-{context.crashes}")
    if not context.crashes:
        os.kill(os.getpid(), signal.SIGKILL)


@job("health.fading", max_crashes=None)
def fading() -> None:
    """Its death is heard of before it is dead: its files are closed first."""
    if job_context.current().crashes < 6:
        os.closerange(3, 1024)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
