"""Jobs and chores of campaigns: ids in, one call."""

import time
from collections.abc import Callable
from typing import Any

from structlog.contextvars import bound_contextvars

from longwave.campaigns import clearing, preparing, tending, trial, turn, watching
from longwave.campaigns import set_clock as _  # noqa: F401 - the beat mends our rows too
from longwave.jobs import Again, job, job_context
from longwave.jobs.chores import chore

SLICE = 20.0
"""Seconds after which a long preparation or clearing lets other jobs of its queue have a turn."""


@job("campaigns.prepare", queue="campaigns", lease=15.0)
def prepare(campaign_id: int) -> Again | None:
    """Freeze the audience, then send."""
    with bound_contextvars(campaign=campaign_id):
        is_done = preparing.freeze(campaign_id, until=_end_of_slice())
    return None if is_done else Again(why="more to freeze")


@job("campaigns.lane", queue="broadcast", lease=10.0, retries=1000, backoff=(1, 5, 15), max_crashes=None)
async def lane(campaign_id: int, number: int, generation: int) -> Again | None:
    """One turn of one lane."""
    with bound_contextvars(campaign=campaign_id):
        return await turn.take(campaign_id, number=number, generation=generation)


@job("campaigns.test", queue="notifications", retries=3, backoff=(2, 10, 60), lease=60)
def test(campaign_id: int, address: str, fields: dict[str, Any]) -> Again | dict[str, Any]:
    """Its message to one address now, ahead of every campaign."""
    with bound_contextvars(campaign=campaign_id):
        return trial.send(campaign_id, address, fields, job_context.current())


@job("campaigns.clear", queue="campaigns")
def clear(campaign_id: int) -> Again | None:
    """Mark what a cancelled campaign has not sent."""
    is_over = _end_of_slice()
    with bound_contextvars(campaign=campaign_id):
        if clearing.clear(campaign_id, until=is_over):
            return None
    return Again(why="more to clear") if is_over() else Again(after=1.0, why="lanes are still handing over")


def _end_of_slice() -> Callable[[], bool]:
    """Says when this job has had its turn, or its worker is told to stop."""
    stop_at, context = time.monotonic() + SLICE, job_context.current()
    return lambda: time.monotonic() > stop_at or context.stopping()


@chore(every=1.0)
def start_due() -> None:
    """Start scheduled campaigns whose time has come."""
    tending.start_due()


@chore(every=1.0)
def tend() -> None:
    """Give every running campaign the lanes it lacks."""
    tending.tend()


@chore(every=300.0, first_after=300.0)
def monitor_campaign_progress() -> None:
    """Log a warning, with the reason, for each campaign that stands still or is slow."""
    watching.monitor()


@chore(every=600.0)
def cleanup_stuck_campaigns() -> None:
    """Mend what got stuck: lanes that were lost, preparing or clearing that died.

    `tend` has done the same every second already; this is its name for those who look for it, and it does nothing more.
    """
    tending.tend()
