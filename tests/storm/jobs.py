"""The jobs of the storm. Each says to the witness when a turn of it begins and ends; a killed one says no end."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from longwave.jobs import Again, JobEvent, job, job_context
from tests import witness

LEASE = float(os.environ.get("TEST_LEASE", "4"))
"""Seconds. What a killed worker ran comes back this much later; who only got no time must not lose its jobs."""

BRIEF = 0.003
TURNS = 3


@contextlib.contextmanager
def told(turn: int = 1, **facts: Any) -> Iterator[None]:
    """The side effect of a turn."""
    context = job_context.current()
    about = {"job": context.id, "attempt": context.attempt, "turn": turn, "pid": os.getpid(), **facts}
    witness.tell(what="begin", **about)
    try:
        yield
    finally:
        witness.tell(what="end", **about)


@job("storm.plain", lease=LEASE, max_crashes=None)
def plain() -> None:
    with told():
        time.sleep(BRIEF)


@job("storm.coroutine", queue="broadcast", lease=LEASE, max_crashes=None)
async def coroutine() -> None:
    with told():
        await asyncio.sleep(BRIEF)


@job("storm.slow", lease=LEASE, max_crashes=None)
def slow() -> None:
    with told():
        time.sleep(0.3)


@job("storm.flaky", retries=2, backoff=(0.1, 0.3), lease=LEASE, max_crashes=None)
def flaky() -> None:
    with told():
        if job_context.current().attempt <= 2:
            raise ConnectionError("the other side is away")


@job("storm.doomed", queue="broadcast", retries=1, backoff=(0.1,), lease=LEASE, max_crashes=None)
def doomed() -> None:
    with told():
        raise ValueError("this never works")


@doomed.on_failure
def gave_up(event: JobEvent) -> None:
    witness.tell(what="gave up", job=event.id)


@job("storm.serial", lease=LEASE, max_crashes=None)
def serial(key: str, number: int) -> None:
    with told(key=key, number=number):
        time.sleep(BRIEF)


@job("storm.stage", lease=LEASE, max_crashes=None)
def stage(chain: str, place: int) -> None:
    with told(chain=chain, place=place):
        time.sleep(BRIEF)


@job("storm.turns", lease=LEASE, max_crashes=None)
def turns() -> Again | None:
    context = job_context.current()
    done = context.saved or 0
    with told(turn=done + 1):
        time.sleep(BRIEF)
    if done + 1 == TURNS:
        return None
    context.checkpoint(done + 1)
    return Again(after=0.2 if done else 0)


@job("storm.dated", lease=LEASE, max_crashes=None)
def dated() -> None:
    with told():
        time.sleep(BRIEF)
