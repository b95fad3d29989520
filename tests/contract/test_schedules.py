"""Schedules on every database: each time is kept once, whoever else keeps it, and whoever dies of it."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
import structlog.testing
from django.db import connection

from longwave import database
from longwave.core.errors import Conflict, InvalidInput, NotFound
from longwave.jobs import (
    broker,
    chore_runs,
    chores,
    job,
    rhythm,
    runner,
    schedule,
    schedules,
    ticking,
    timetable,
)
from longwave.jobs.models import ChoreRun, Job, Schedule, Status, Tick

pytestmark = pytest.mark.usefixtures("database")

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)


@job("schedules.work")
def work(number: int = 1) -> int:
    """Something to submit."""
    return number


class Killed(BaseException):
    """Nobody catches it: as good as kill -9 to what a transaction had done."""


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timetable, "_registry", {})
    monkeypatch.setattr(broker, "publish", lambda *_: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    clock = Clock()
    monkeypatch.setattr(database, "now", clock)
    return clock


class Clock:
    """Noon, until told otherwise."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)


def a_schedule(**fields: Any) -> Schedule:
    when = {} if "cron" in fields else {"every": 60.0}
    schedules.add("s", "schedules.work", **{**when, **fields})
    return Schedule.objects.get(name="s")


def at_once(*works: Any) -> None:
    """Each in a thread and a connection of its own, at the same moment."""
    barrier = Barrier(len(works))

    def begin(work: Any) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(10)
            work()
        finally:
            connection.close()

    threads = [Thread(target=begin, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_a_time_is_kept_once_when_it_has_come(clock: Clock) -> None:
    row = a_schedule(args={"number": 7})
    assert row.next_at == NOON + timedelta(seconds=60)
    clock.passes(seconds=59)
    assert ticking.submit_due() == 0
    clock.passes(seconds=1)
    assert ticking.submit_due() == 1
    assert ticking.submit_due() == 0
    submitted = Job.objects.get()
    assert (submitted.name, submitted.args, submitted.status) == (
        "schedules.work",
        {"number": 7},
        Status.QUEUED,
    )
    row.refresh_from_db()
    assert (row.last_at, row.last_job_id) == (clock.now, submitted.pk)
    assert row.next_at == clock.now + timedelta(seconds=60)


@pytest.mark.parametrize("catch_up", ["once", "all"])
def test_beats_that_come_at_the_same_moment_submit_a_time_once(clock: Clock, catch_up: str) -> None:
    for number in range(10):
        schedules.add(f"s{number}", "schedules.work", every=60, catch_up=catch_up)
    stale = list(Schedule.objects.all())
    clock.passes(minutes=3)
    kept: list[int] = []

    def keep_all() -> None:
        kept.extend(ticking.keep(row, clock.now) for row in stale)

    at_once(keep_all, keep_all, keep_all)
    expected = 10 if catch_up == "once" else 30
    assert sum(kept) == Job.objects.count() == Tick.objects.count() == expected


def test_a_beat_that_was_held_up_moves_nothing_back_and_keeps_nothing_that_was_paused(clock: Clock) -> None:
    held_up = a_schedule()
    clock.passes(minutes=1)
    then = clock.now
    ticking.submit_due()
    clock.passes(minutes=5)
    ticking.submit_due()
    assert ticking.keep(held_up, then) == 0
    row = Schedule.objects.get()
    assert row.next_at == NOON + timedelta(minutes=7)

    schedules.pause("s")
    clock.passes(minutes=1)
    assert ticking.keep(row, clock.now) == 0
    assert Schedule.objects.get().next_at == NOON + timedelta(minutes=7)


def test_a_time_that_was_kept_is_not_kept_again_by_a_row_that_does_not_know(clock: Clock) -> None:
    a_schedule(catch_up="all")
    clock.passes(minutes=2)
    assert ticking.submit_due() == 2
    schedules.remove("s")
    clock.passes(minutes=-2)
    a_schedule(catch_up="all")
    clock.passes(minutes=3)
    assert ticking.submit_due() == 1
    assert Job.objects.count() == 3


def test_whoever_is_killed_at_any_statement_neither_loses_nor_doubles_a_time(clock: Clock) -> None:
    a_schedule(catch_up="all")
    deaths = 0
    for until in range(1, 40):
        clock.passes(minutes=1)
        seen = 0

        def die(execute: Any, sql: str, *rest: Any, until: int = until) -> Any:
            nonlocal seen
            seen += 1
            result = execute(sql, *rest)
            if seen == until:
                raise Killed
            return result

        try:
            with connection.execute_wrapper(die):
                ticking.submit_due()
        except Killed:
            deaths += 1
            connection.close()
        ticking.submit_due()
        assert Job.objects.count() == Tick.objects.count() == until
    assert 5 <= deaths < 39  # there are so many statements, and some rounds came through


@pytest.mark.parametrize(("catch_up", "runs"), [("skip", 0), ("once", 1), ("all", 150)])
def test_what_was_missed_is_caught_up_as_the_policy_says(clock: Clock, catch_up: str, runs: int) -> None:
    a_schedule(every=120, catch_up=catch_up)
    clock.passes(minutes=300, seconds=90)
    while ticking.submit_due():
        pass
    assert Job.objects.count() == runs
    assert Schedule.objects.get().next_at == NOON + timedelta(minutes=302)


@pytest.mark.parametrize(("catch_up", "runs"), [("once", 1), ("all", 3)])
def test_a_run_that_has_not_ended_is_doubled_only_where_each_counts(
    clock: Clock, catch_up: str, runs: int
) -> None:
    a_schedule(catch_up=catch_up)
    for _ in range(3):
        clock.passes(minutes=1)
        ticking.submit_due()
    assert Job.objects.count() == runs
    runner.execute(Job.objects.earliest("pk").pk, 1)
    clock.passes(minutes=1)
    ticking.submit_due()
    assert Job.objects.count() == runs + 1


def test_a_clock_that_was_set_back_neither_stops_a_schedule_nor_repeats_its_times(clock: Clock) -> None:
    a_schedule(catch_up="all")
    clock.passes(minutes=1)
    ticking.submit_due()
    clock.passes(days=300)
    while ticking.submit_due() == ticking.AT_ONCE and Job.objects.count() < 250:
        pass
    Tick.objects.filter(at__gt=NOON + timedelta(minutes=1)).delete()
    Job.objects.all().delete()
    clock.now = NOON + timedelta(seconds=30)
    for _ in range(3):
        ticking.submit_due()
        clock.passes(minutes=1)
    assert [tick.at for tick in Tick.objects.order_by("at")] == [
        NOON + timedelta(minutes=minute) for minute in (1, 2)
    ]
    assert Job.objects.count() == 1


def test_what_code_declares_is_written_down_changed_and_left_alone(clock: Clock) -> None:
    schedule(cron="0 3 * * *", timezone="Asia/Tokyo", args={"number": 2})(work)
    ticking.submit_due()
    row = Schedule.objects.get(name="schedules.work")
    assert row.is_declared
    assert row.next_at == datetime(2027, 1, 31, 18, tzinfo=UTC)

    schedules.pause("schedules.work")
    timetable._registry.clear()
    schedule(cron="0 3 * * *", timezone="Asia/Tokyo", args={"number": 3}, catch_up="all")(work)
    clock.passes(hours=1)
    ticking.submit_due()
    row.refresh_from_db()
    assert (row.args, row.catch_up, row.planned_at) == ({"number": 3}, "all", NOON)
    assert row.paused_at is not None

    timetable._registry.clear()
    schedule(every=3600)(work)
    ticking.submit_due()
    row.refresh_from_db()
    assert (row.every, row.cron, row.next_at) == (3600, "", clock.now + timedelta(hours=1))


def test_a_beat_leaves_the_times_of_a_schedule_that_its_code_does_not_know(clock: Clock) -> None:
    schedule(every=60)(work)
    ticking.submit_due()
    timetable._registry.clear()
    clock.passes(minutes=1)
    assert ticking.submit_due() == 0
    assert "no code here declares it" in Schedule.objects.get().problem
    schedule(every=60)(work)
    assert ticking.submit_due() == 1
    assert Schedule.objects.get().problem == ""


def test_a_schedule_that_cannot_be_kept_says_so_once_and_the_others_go_on(clock: Clock) -> None:
    a_schedule()
    schedules.add("t", "schedules.work", every=60)
    Schedule.objects.filter(name="s").update(job="schedules.gone")
    clock.passes(minutes=1)
    with structlog.testing.capture_logs() as logs:
        assert ticking.submit_due() == 1
        assert ticking.submit_due() == 0
    told = [line["schedule"] for line in logs if line["event"] == "schedule_not_kept"]
    assert told == ["s"]
    row = Schedule.objects.get(name="s")
    assert row.problem.startswith("There is no job 'schedules.gone'")
    Schedule.objects.filter(name="s").update(job="schedules.work")
    assert ticking.submit_due() == 1


def test_a_row_that_makes_no_sense_does_not_keep_the_others_waiting(clock: Clock) -> None:
    a_schedule(cron="0 * * * *")
    schedules.add("t", "schedules.work", every=60)
    Schedule.objects.filter(name="s").update(timezone="Nowhere/Gone", next_at=NOON)
    clock.passes(minutes=1)
    assert ticking.submit_due() == 1
    assert "Nowhere/Gone" in Schedule.objects.get(name="s").problem
    clock.passes(hours=-1)
    assert ticking.submit_due() == 0
    clock.passes(minutes=1)
    assert ticking.submit_due() == 1


def test_a_paused_schedule_keeps_nothing_and_goes_on_with_its_next_time(clock: Clock) -> None:
    a_schedule(catch_up="all")
    assert schedules.pause("s")
    assert not schedules.pause("s")
    clock.passes(minutes=10, seconds=5)
    assert ticking.submit_due() == 0
    assert schedules.resume("s") == NOON + timedelta(minutes=11)
    assert schedules.resume("s") is None
    assert ticking.submit_due() == 0
    clock.passes(minutes=1)
    assert ticking.submit_due() == 1


def test_a_pause_at_the_moment_a_beat_looks_wins_or_loses_but_nothing_else(clock: Clock) -> None:
    stale = a_schedule()
    clock.passes(minutes=1)
    at_once(lambda: schedules.pause("s"), lambda: ticking.keep(stale, clock.now))
    row = Schedule.objects.get()
    assert row.paused_at is not None
    assert Job.objects.count() == (row.next_at == NOON + timedelta(minutes=2))


def test_running_it_by_hand_is_one_more_run_and_moves_no_time(clock: Clock) -> None:
    row = a_schedule()
    handle = schedules.run("s")
    assert handle.created
    assert not schedules.run("s").created
    seen = Schedule.objects.get()
    assert (seen.next_at, seen.last_at, seen.last_job_id) == (row.next_at, NOON, handle.id)


def test_the_list_shows_schedules_with_their_last_run_and_chores(clock: Clock) -> None:
    a_schedule()
    clock.passes(minutes=1)
    ticking.submit_due()
    runner.execute(Job.objects.get().pk, 1)
    name = next(one.name for one in chores.registered() if one.name.endswith("ticking.submit_due"))
    chore_runs.write({name: chore_runs.Run(5.0, 1.25), "gone": chore_runs.Run(5.0, 1)}, 7.0)
    chore_runs.write({name: chore_runs.Run(6.0, 2.25, "x" * 300)}, 7.0)
    lines = {line.name: line for line in schedules.all_lines()}
    assert (lines["s"].kind, lines["s"].last_at, lines["s"].last_result) == ("schedule", clock.now, "success")
    assert lines["s"].last_ms is not None
    assert (lines[name].kind, lines[name].rhythm, lines[name].last_ms) == ("chore", "every 1 s", 2.2)
    assert (lines[name].last_result, lines[name].problem) == ("failure", "x" * 255)
    assert "gone" not in lines
    assert ChoreRun.objects.count() == 2


def test_the_longest_cron_expression_fits_and_a_longer_one_is_refused(clock: Clock) -> None:
    minutes = ",".join(map(str, range(33)))
    a_schedule(cron=f"{minutes} 1 * * *".ljust(rhythm.MAX_CRON))
    ticking.submit_due()
    assert Schedule.objects.get(name="s").problem == ""
    with pytest.raises(InvalidInput, match="100 characters at most"):
        schedule(cron=f"{minutes},33,34,35 1 * * *", name="t")(work)


def test_old_ticks_are_forgotten(clock: Clock) -> None:
    a_schedule()
    clock.passes(minutes=1)
    ticking.submit_due()
    assert ticking.prune_ticks() == 0
    clock.passes(days=8)
    assert ticking.prune_ticks() == 1


def test_what_cannot_be_is_refused_with_the_reason(clock: Clock) -> None:
    with pytest.raises(NotFound, match="There is no job"):
        schedules.add("s", "schedules.wrok", every=60)
    with pytest.raises(InvalidInput, match="does not take it"):
        schedules.add("s", "schedules.work", every=60, args={"size": 1})
    with pytest.raises(InvalidInput, match="small letters"):
        schedules.add("S 1", "schedules.work", every=60)
    with pytest.raises(InvalidInput, match="skip, once, all"):
        schedules.add("s", "schedules.work", every=60, catch_up="some")
    a_schedule()
    with pytest.raises(Conflict, match="There is a schedule 's' already"):
        a_schedule()
    with pytest.raises(NotFound, match="no schedule 'x'"):
        schedules.pause("x")
    with pytest.raises(Conflict, match="neither paused nor removed"):
        schedules.pause("submit_due")
    schedule(every=60)(work)
    with pytest.raises(Conflict, match="declared in code"):
        schedules.remove("schedules.work")
    with pytest.raises(InvalidInput, match="is another schedule's"):
        schedule(every=61)(work)
    with pytest.raises(TypeError, match="above @job"):
        schedule(every=60)(lambda: None)  # type: ignore[type-var]
