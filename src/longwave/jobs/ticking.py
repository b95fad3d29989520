"""Keeping the schedules: each time is submitted in one transaction with the note that it was, so once and for sure."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from django.db import IntegrityError, transaction

from longwave import database
from longwave.core.errors import LongwaveError
from longwave.jobs import declare, rhythm, timetable
from longwave.jobs.chores import chore
from longwave.jobs.models import Schedule, Tick
from longwave.jobs.rhythm import CatchUp, Rhythm
from longwave.jobs.timetable import Entry

log = structlog.get_logger("longwave.jobs")

AT_ONCE = 100
"""Times of one schedule that one transaction keeps."""

KEEP_TICKS = timedelta(days=7)
CHUNK = 1000
MAX_CHUNKS = 20

SET_BACK = timedelta(seconds=1)
"""A clock that is more than this behind what it said before was set back."""


@chore(every=1.0)
def submit_due() -> int:
    """Submit the jobs of the schedules whose time has come; how many."""
    now = database.now()
    write_down(timetable.declared(), now)
    due = Schedule.objects.filter(next_at__lte=now, paused_at=None)
    return sum(_each(_keep, row, now) for row in due.order_by("next_at"))


@chore(every=60.0)
def prune_ticks() -> int:
    """Forget which times were kept, a week later; how many."""
    old = Tick.objects.filter(at__lt=database.now() - KEEP_TICKS).order_by("at").values_list("pk", flat=True)
    total = 0
    for _ in range(MAX_CHUNKS):
        deleted, _ = Tick.objects.filter(pk__in=list(old[:CHUNK])).delete()
        total += deleted
        if deleted < CHUNK:
            break
    return total


def write_down(entries: Iterable[Entry], now: datetime) -> None:
    """Bring the table up to date with what code declares, and with a clock that was set back.

    What another version of the code declared stays: a beat that does not know it leaves its times to one that does.
    """
    rows = {row.name: row for row in Schedule.objects.all()}
    for entry in entries:
        row = rows.get(entry.name)
        if row is None:
            create(entry, now, is_declared=True)
        elif not row.is_declared or _fields(entry) != {name: getattr(row, name) for name in _fields(entry)}:
            _change(row, entry, now)
    for row in rows.values():
        if now < row.planned_at - SET_BACK:
            _each(_plan_anew, row, now)


def create(entry: Entry, now: datetime, *, is_declared: bool) -> bool:
    """A row of its own for a schedule; False when there is one of that name."""
    plan = {"next_at": entry.rhythm.next_after(now), "planned_at": now}
    try:
        with transaction.atomic():
            Schedule.objects.create(name=entry.name, is_declared=is_declared, **_fields(entry), **plan)
    except IntegrityError:
        return False
    return True


def rhythm_of(row: Schedule) -> Rhythm:
    """When its times come."""
    return rhythm.Every(row.every) if row.every is not None else rhythm.Cron(row.cron, row.timezone)


def keep(row: Schedule, now: datetime) -> int:
    """Submit a job for each of its times that is due, unless somebody else did; how many times were kept.

    All of it is one transaction: whoever dies in it has kept nothing, whoever comes second finds the row moved on.
    Raises LongwaveError for a job that is unknown or does not take these arguments.
    """
    plan = rhythm.due(rhythm_of(row), row.next_at, now, catch_up=CatchUp(row.catch_up), limit=AT_ONCE)
    with transaction.atomic():
        unmoved = Schedule.objects.filter(pk=row.pk, next_at=row.next_at, paused_at=None)
        if not unmoved.update(next_at=plan.next_at, planned_at=now, problem=""):
            return 0
        kept = [at for at in plan.times if _submit_once(row, at)]
    if not plan.times:
        log.warning("schedule_missed", schedule=row.name, at=str(row.next_at), next=str(plan.next_at))
    return len(kept)


def submit(row: Schedule) -> declare.JobHandle:
    """Its job, now. With every policy but `all`, one that has not ended yet is not doubled. Raises LongwaveError."""
    is_single = row.catch_up != CatchUp.ALL
    return declare.find(row.job).submit(
        job_dedupe_key=f"schedule:{row.name}" if is_single else None, **row.args
    )


def _submit_once(row: Schedule, at: datetime) -> bool:
    tick, is_new = Tick.objects.get_or_create(schedule=row.name, at=at)
    if is_new:
        job_id = submit(row).id
        Tick.objects.filter(pk=tick.pk).update(job_id=job_id)
        Schedule.objects.filter(pk=row.pk).update(last_at=at, last_job_id=job_id)
    return is_new


def _keep(row: Schedule, now: datetime) -> int:
    if row.is_declared and timetable.get(row.name) is None:
        _note(row, "no code here declares it any more; `longwave schedule remove` forgets it")
        return 0
    return keep(row, now)


def _each(work: Callable[[Schedule, datetime], int], row: Schedule, now: datetime) -> int:
    """What is wrong with one schedule does not keep the others waiting, and is told once."""
    try:
        return work(row, now)
    except LongwaveError as error:
        _note(row, str(error))
    except Exception as error:
        if database.is_passing(error):
            raise
        _note(row, f"{type(error).__name__}: {error}")
    return 0


def _note(row: Schedule, problem: str) -> None:
    problem = problem[:255]
    if row.problem != problem:
        Schedule.objects.filter(pk=row.pk).update(problem=problem)
        log.error("schedule_not_kept", schedule=row.name, why=problem)


def _change(row: Schedule, entry: Entry, now: datetime) -> None:
    """What code declares holds from now on; only where the times themselves changed are they counted anew."""
    fields = _fields(entry)
    is_retimed = any(getattr(row, name) != fields[name] for name in ("every", "cron", "timezone"))
    for name, value in fields.items():
        setattr(row, name, value)
    Schedule.objects.filter(pk=row.pk).update(is_declared=True, **fields)
    if is_retimed:
        _plan_anew(row, now)
    log.info("schedule_changed", schedule=row.name, rhythm=str(entry.rhythm))


def _plan_anew(row: Schedule, now: datetime) -> int:
    """From the clock as it is. A time that comes a second time finds its tick."""
    unmoved = Schedule.objects.filter(pk=row.pk, next_at=row.next_at)
    return unmoved.update(next_at=rhythm_of(row).next_after(now), planned_at=now)


def _fields(entry: Entry) -> dict[str, object]:
    times = entry.rhythm
    when: dict[str, object] = (
        {"every": times.seconds, "cron": "", "timezone": ""}
        if isinstance(times, rhythm.Every)
        else {"every": None, "cron": times.expression, "timezone": times.timezone}
    )
    return {"job": entry.job, "args": dict(entry.args), "catch_up": str(entry.catch_up), **when}
