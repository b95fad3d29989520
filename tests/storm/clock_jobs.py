"""Jobs for clocks that are set: planned, paused, hanging, and submitted by schedules."""

import os
import time

from longwave.jobs import job, job_context, schedule
from tests import witness
from tests.storm.jobs import LEASE, told


@job("storm.planned", lease=LEASE, max_crashes=None)
def planned() -> None:
    with told():
        pass


@job("storm.long", lease=4 * LEASE, max_crashes=None)
def long() -> None:
    with told():  # too short for its lease to be renewed: the beat has to know that it did not run out
        time.sleep(LEASE)


@job("storm.hung", lease=LEASE, max_crashes=None)
def hung() -> None:
    with told():
        if job_context.current().attempt == 1:
            time.sleep(600)  # until somebody kills it


@job("storm.patient", retries=1, backoff=(4,), lease=LEASE, max_crashes=None)
def patient() -> None:
    with told():
        if job_context.current().attempt == 1:
            raise ConnectionError("the other side is away")


@schedule(every=1, catch_up="once")
@job("ticks.secondly", lease=LEASE)
def secondly() -> None:
    _tick()


@schedule(every=60, catch_up="all")
@job("ticks.minutely", lease=LEASE)
def minutely() -> None:
    _tick()


def _tick() -> None:
    witness.tell(what="tick", job=job_context.current().id, pid=os.getpid())
