"""Real beats, two at a time and killed at random: no time of a schedule is lost, none is kept twice."""

import random
import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from longwave.jobs.models import BeatLease, Job, Schedule, Tick
from tests.integration.test_jobs_processes import House, house, until

__all__ = ["house"]

pytestmark = pytest.mark.chaos

SCHEDULES = """
from longwave.jobs import schedule
schedule(every=1, catch_up="all")(job("room.ticked")(lambda: None))
"""
KILLS = 3
SECOND = timedelta(seconds=1)


def test_no_time_is_lost_or_doubled_by_beats_that_are_killed(house: House) -> None:
    with (Path(house.traces).parent / "room" / "tasks.py").open("a") as tasks:
        tasks.write(SCHEDULES)
    beats = [house.start("beat()"), house.start("beat()")]
    for _ in range(KILLS):
        until_ticks(2, house)
        time.sleep(random.random() / 2)  # anywhere in what it does
        leader = BeatLease.objects.get().owner.split(":")[1]
        (killed,) = [beat for beat in beats if str(beat.pid) == leader]
        killed.kill()
        killed.wait()
        beats.remove(killed)
        beats.append(house.start("beat()"))
    until_ticks(1, house)
    for beat in beats:
        beat.kill()
        beat.wait()
    times = list(Tick.objects.order_by("at").values_list("at", flat=True))
    assert {later - earlier for earlier, later in pairwise(times)} == {SECOND}
    jobs = Counter(Tick.objects.values_list("job_id", flat=True))
    assert set(jobs.values()) == {1}
    assert set(jobs) == set(Job.objects.filter(name="room.ticked").values_list("pk", flat=True))
    assert Schedule.objects.get().next_at == times[-1] + SECOND


def until_ticks(more: int, house: House) -> None:
    wanted = Tick.objects.count() + more
    until(lambda: Tick.objects.count() >= wanted, house)
