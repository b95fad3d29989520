"""A thousand jobs of all kinds in a storm: every accepted one ends exactly once, in the ledger and for the witness.

No time of a schedule is lost meanwhile, and none is kept twice.
"""

import contextlib
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connections
from django.db.models import Q

from longwave.jobs.models import ACTIVE, Job, Status
from tests import servers
from tests.clocks import HOUR, OwnClock
from tests.houses import House, manned
from tests.installations import EMBEDDED, JOB_STACKS
from tests.servers import Server
from tests.storm import verdict
from tests.storm.submitting import Bot
from tests.waiting import pass_time

pytestmark = pytest.mark.chaos

STORM = "tests.storm.jobs"
TICKING = "tests.scheduled_room"
HALF = 500
OUTAGE = 30.0
CLOCK = "tests.storm.jobs,tests.storm.clock_jobs"
CLOCK_JOBS = 300
PLANNED = """
from datetime import UTC, datetime, timedelta
from longwave.background import submit
soon, late = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (50, 90))
print(*(submit("storm.planned", run_at=at) for at in (soon, late)))
print(long := submit("storm.long"), submit("storm.hung"), submit("storm.patient", after=(long,)))
"""
PATIENT = {"TEST_LEASE": "60"}
"""Leases that outlast what happens to the database."""

ACTIVE_STORM = Q(status__in=ACTIVE, name__startswith="storm.")


def rolled() -> tuple[random.Random, str]:
    """Dice, and the seed that throws the same again: printed, and taken from TEST_SEED."""
    seed = os.environ.get("TEST_SEED") or str(random.randrange(1_000_000))
    print(f"TEST_SEED={seed}")
    return random.Random(seed), seed


def nothing_is_left_to_do() -> bool:
    return not Job.objects.filter(ACTIVE_STORM).exists()


def has_ended(count: int) -> bool:
    return Job.objects.filter(name__startswith="storm.").exclude(status__in=ACTIVE).count() >= count


@pytest.mark.parametrize("kind", JOB_STACKS)
def test_a_thousand_jobs_in_a_storm_end_exactly_once(kind: str, home: Path) -> None:
    dice, seed = rolled()
    with manned(kind, home, modules=f"{STORM},{TICKING}") as house:
        first = Bot(house, "first", seed, HALF)
        blows(house, dice)
        accepted = first.finish()

        second = Bot(house, "second", seed, HALF, pace=0.1)
        with house.broker_away() as gone_at:
            house.kill(house.leading_beat())
            house.kill_child("general-1", dice)
            pass_time(gone_at + OUTAGE)
        accepted |= second.finish()
        house.kill("general-2")
        house.until(nothing_is_left_to_do, 60)

        house.until(house.is_healthy, 20)
        assert max(first.slowest, second.slowest) < 2.0
        assert len(accepted) == 2 * HALF
        verdict.judge(accepted, house.witness.records())
        house.stop()
        house.until(lambda: not house.left_behind(), 15)
        verdict.judge_times("room.ticked", timedelta(seconds=1))


def blows(house: House, dice: random.Random) -> None:
    """One after another, in no order, while jobs run."""
    todo = [
        lambda: house.kill_child("general-1", dice),
        lambda: house.kill_child("general-2", dice),
        lambda: house.kill("general-1"),
        lambda: house.kill("send-1"),
        lambda: house.kill(house.leading_beat()),
        lambda: house.kill("web"),
        house.empty_broker,
    ]
    dice.shuffle(todo)
    ended = 0
    for blow in todo:
        ended += dice.randint(20, 60)
        house.until(lambda ended=ended: has_ended(ended))
        blow()


@pytest.fixture(params=[kind for kind in JOB_STACKS if kind != EMBEDDED])
def kind(request: pytest.FixtureRequest) -> str:
    """Those whose database is a server: SQLite dies with the processes that have its file open."""
    return str(request.param)


def test_a_database_that_dies_and_clocks_that_are_set_repeat_nothing(
    kind: str, server: Server, home: Path
) -> None:
    """Nobody is killed but the database, whose clock is right all the while: so nothing may run twice."""
    _, seed = rolled()
    clock = OwnClock(home)
    with manned(kind, home, modules=STORM, url=server.url, more=clock.environment | PATIENT) as house:
        accepted = Bot(house, "first", seed, HALF).finish()
        clock.set(HOUR)
        house.until(lambda: has_ended(HALF // 2))
        server.crash()
        connections.close_all()
        assert not house.is_healthy()
        server.start()
        clock.set(0)
        house.until(nothing_is_left_to_do, 60)
        house.until(house.is_healthy, 20)
        verdict.judge(accepted, house.witness.records())


@pytest.mark.parametrize("kind", JOB_STACKS)
def test_a_database_s_clock_that_is_set_ahead_and_back_keeps_nothing_waiting(kind: str, home: Path) -> None:
    """Every connection goes by that clock. One worker and the leading beat die while it is wrong."""
    _, seed = rolled()
    with clocked(kind, home) as (house, clock):
        bot = Bot(house, "first", seed, CLOCK_JOBS, pace=0.1)
        soon, late, long, hung, patient = (int(word) for word in house.submit(PLANNED).split())
        house.until(lambda: status_of(long) == status_of(hung) == Status.RUNNING)
        clock.set(HOUR)
        before = newest()
        house.until(lambda: (status_of(soon), status_of(patient)) == (Status.SUCCESS, Status.RETRY))
        assert min(starts(after=before)) > in_half_an_hour()

        house.kill_process(pid_at(house, hung))
        house.kill(house.leading_beat())
        clock.set(0)
        before = newest()
        accepted = bot.finish() | {soon: "planned", long: "long", hung: "hung", patient: "patient"}
        far = Job.objects.filter(status=Status.SCHEDULED, run_at__gt=in_half_an_hour())
        house.until(lambda: not Job.objects.filter(ACTIVE_STORM).difference(far).exists(), 30)
        assert max(starts(after=before)) < in_half_an_hour()

        # A bot that goes by the same clock has planned by what that was: those jobs wait for then, as they should.
        left = dict(far.values_list("pk", "name"))
        assert left.pop(late) == "storm.planned"
        assert set(left.values()) <= {"storm.dated"}
        accepted = {job_id: kind for job_id, kind in accepted.items() if job_id not in left}
        far.delete()
        verdict.judge(accepted, house.witness.records())
        verdict.judge_ticks(house.witness.records(), "ticks.minutely")


@contextlib.contextmanager
def clocked(kind: str, home: Path) -> Iterator[tuple[House, OwnClock]]:
    """A house, and the clock that its database goes by: the server's own, or with SQLite that of all processes."""
    if kind == EMBEDDED:
        clock = OwnClock(home)
        with manned(kind, home, modules=CLOCK, more=clock.environment) as house:
            yield house, clock
        return
    with (
        servers.standing(kind, is_clocked=True) as server,
        manned(kind, home, modules=CLOCK, url=server.url) as house,
    ):
        yield house, server.clock


def newest() -> int:
    """The id of the job that was submitted last."""
    return Job.objects.values_list("pk", flat=True).latest("pk")


def starts(*, after: int) -> list[datetime]:
    """When jobs were started that were submitted after that one, by the database's clock."""
    started = Job.objects.filter(pk__gt=after, started_at__isnull=False).values_list("started_at", flat=True)
    return list(started)


def in_half_an_hour() -> datetime:
    """By the machine's clock, which is right."""
    return datetime.now(UTC) + timedelta(minutes=30)


def status_of(job_id: int) -> str:
    return str(Job.objects.values_list("status", flat=True).get(pk=job_id))


def pid_at(house: House, job_id: int) -> int:
    """The process that works on a job."""
    begins = [record for record in house.witness.records() if record.get("job") == job_id]
    return int(begins[-1]["pid"])
