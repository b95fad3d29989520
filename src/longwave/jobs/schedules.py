"""What an operator does with schedules: look, run now, pause, resume, add, remove. Chores can only be looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from longwave import database
from longwave.core.errors import Conflict, NotFound
from longwave.jobs import chores, declare, rhythm, ticking, timetable
from longwave.jobs.chores import Chore
from longwave.jobs.declare import JobHandle
from longwave.jobs.models import ChoreRun, Job, Schedule


@dataclass(frozen=True, slots=True)
class Line:
    """One schedule, or one chore of the beat's own.

    kind: schedule, or chore. job: what it submits; empty for a chore. declared_in: code or database.
    last_at: the time kept last, or when it was run by hand; a chore's last run. last_result: the status of the job that
    was submitted then, or how the chore ended. last_ms: how long that took. problem: why its last time was not kept.
    """

    name: str
    kind: str
    rhythm: str
    job: str
    declared_in: str
    catch_up: str
    next_at: datetime | None = None
    last_at: datetime | None = None
    last_job_id: int | None = None
    last_result: str = ""
    last_ms: float | None = None
    is_paused: bool = False
    problem: str = ""


def all_lines() -> list[Line]:
    """Every schedule, then every chore that this process knows."""
    rows = list(Schedule.objects.order_by("name"))
    jobs = Job.objects.in_bulk([row.last_job_id for row in rows if row.last_job_id is not None])
    runs = ChoreRun.objects.in_bulk()
    known = {row.name for row in rows}
    return [
        *(_of_schedule(row, jobs.get(row.last_job_id or 0)) for row in rows),
        *(_not_yet(entry) for entry in timetable.declared() if entry.name not in known),
        *(_of_chore(one, runs.get(one.name)) for one in chores.registered()),
    ]


def find(name: str) -> Schedule:
    """The schedule of that name. Raises NotFound; Conflict for a chore, of which there are none to be found here."""
    row = Schedule.objects.filter(name=name).first()
    if row is not None:
        return row
    entry = timetable.get(name)
    if entry is not None:  # declared since the beat last started
        ticking.create(entry, database.now(), is_declared=True)
        return Schedule.objects.get(name=name)
    if chores.find(name):
        raise Conflict(
            f"{name} is a chore of Longwave's own: without it work stays undone, so it can be run, but neither paused "
            "nor removed."
        )
    raise NotFound(f"There is no schedule {name!r}. `longwave schedule list` shows those there are.")


def run(name: str) -> JobHandle:
    """Submit its job now, beside its times and also while it is paused. Raises NotFound, Conflict for a chore."""
    row = find(name)
    with transaction.atomic():
        handle = ticking.submit(row)
        if handle.created:
            Schedule.objects.filter(pk=row.pk).update(last_at=database.now(), last_job_id=handle.id)
    return handle


def pause(name: str) -> bool:
    """Keep none of its times any more. False: it was paused already. Raises NotFound, Conflict for a chore."""
    return bool(Schedule.objects.filter(pk=find(name).pk, paused_at=None).update(paused_at=Now()))


def resume(name: str) -> datetime | None:
    """Go on with the next time from now; those that passed are not caught up. None: it was not paused."""
    row, now = find(name), database.now()
    next_at = ticking.rhythm_of(row).next_after(now)
    paused = Schedule.objects.filter(pk=row.pk, paused_at__isnull=False)
    return next_at if paused.update(paused_at=None, next_at=next_at, planned_at=now) else None


def add(
    name: str,
    job: str,
    *,
    every: float | None = None,
    cron: str = "",
    timezone: str = "",
    catch_up: str = rhythm.CatchUp.ONCE,
    args: Mapping[str, Any] | None = None,
) -> datetime:
    """A schedule in the database; its first time. Raises InvalidInput, NotFound for the job, Conflict for the name."""
    times = rhythm.parse(every=every, cron=cron, timezone=timezone)
    entry = timetable.entry(name, declare.find(job), times, catch_up, args or {})
    if timetable.get(name) or not ticking.create(entry, database.now(), is_declared=False):
        raise Conflict(f"There is a schedule {name!r} already; `longwave schedule remove {name}` makes room.")
    return Schedule.objects.get(name=name).next_at


def remove(name: str) -> None:
    """Forget it. Raises NotFound; Conflict for a chore, or where code declares it and the beat would bring it back."""
    if timetable.get(name):
        raise Conflict(f"{name} is declared in code: take @schedule out there, or pause it.")
    find(name).delete()


def _of_schedule(row: Schedule, job: Job | None) -> Line:
    return Line(
        name=row.name,
        kind="schedule",
        rhythm=str(ticking.rhythm_of(row)),
        job=row.job,
        declared_in="code" if row.is_declared else "database",
        catch_up=row.catch_up,
        next_at=None if row.paused_at else row.next_at,
        last_at=row.last_at,
        last_job_id=row.last_job_id,
        last_result=job.status if job else "",
        last_ms=_took(job) if job else None,
        is_paused=row.paused_at is not None,
        problem=row.problem,
    )


def _took(job: Job) -> float | None:
    if job.started_at is None or job.finished_at is None:
        return None
    return round((job.finished_at - job.started_at).total_seconds() * 1000, 1)


def _not_yet(entry: timetable.Entry) -> Line:
    return Line(
        name=entry.name,
        kind="schedule",
        rhythm=str(entry.rhythm),
        job=entry.job,
        declared_in="code",
        catch_up=entry.catch_up,
        problem="no beat has seen it yet: none runs, or it was started before this was declared",
    )


def _of_chore(one: Chore, ran: ChoreRun | None) -> Line:
    return Line(
        name=one.name,
        kind="chore",
        rhythm=f"every {one.every:g} s",
        job="",
        declared_in="code",
        catch_up="",
        last_at=ran.last_at if ran else None,
        last_result=("failure" if ran.error else "success") if ran else "",
        last_ms=round(ran.duration_ms, 1) if ran else None,
        problem=ran.error if ran else "",
    )
