"""Jobs and chores of campaigns: ids in, one call."""

import time
from typing import Any

from longwave.campaigns import clearing, preparing, tending, trial, turn
from longwave.jobs import Again, job, job_context
from longwave.jobs.chores import chore

SLICE = 20.0
"""Seconds after which a long preparation lets other jobs of its queue have a turn."""


@job("campaigns.prepare", queue="campaigns", lease=15.0)
def prepare(campaign_id: int) -> Again | None:
    """Freeze the audience, then send."""
    stop_at = time.monotonic() + SLICE
    context = job_context.current()
    is_done = preparing.freeze(campaign_id, until=lambda: time.monotonic() > stop_at or context.stopping())
    return None if is_done else Again(why="more to freeze")


@job("campaigns.lane", queue="broadcast", lease=10.0, retries=1000, backoff=(1, 5, 15), max_crashes=None)
async def lane(campaign_id: int, number: int, generation: int) -> Again | None:
    """One turn of one lane."""
    return await turn.take(campaign_id, number=number, generation=generation)


@job("campaigns.test", queue="notifications", retries=3, backoff=(2, 10, 60), lease=60)
def test(campaign_id: int, address: str, fields: dict[str, Any]) -> Again | dict[str, Any]:
    """Its message to one address now, ahead of every campaign."""
    return trial.send(campaign_id, address, fields, job_context.current())


@job("campaigns.clear", queue="campaigns")
def clear(campaign_id: int) -> Again | None:
    """Mark what a cancelled campaign has not sent."""
    return None if clearing.clear(campaign_id) else Again(after=1.0, why="lanes are still handing over")


@chore(every=1.0)
def start_due() -> None:
    """Start scheduled campaigns whose time has come."""
    tending.start_due()


@chore(every=1.0)
def tend() -> None:
    """Give every running campaign the lanes it lacks."""
    tending.tend()
