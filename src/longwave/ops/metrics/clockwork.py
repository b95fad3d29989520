"""The beat, what it does by itself, and the schedules that it keeps."""

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Count, Q

from longwave import database
from longwave.jobs.models import ChoreRun, Schedule
from longwave.ops import liveness
from longwave.ops.metrics.figures import Figure, Part, Reading

FORGOTTEN_AFTER = timedelta(days=1)
"""A chore that was not done for so long is one of another version: renamed, or removed."""

_BY_CHORE = ("chore",)

BEAT = Figure("longwave_beat_running", "1 while a beat holds the lease; without one nothing is brought back")
CHORE_AGE = Figure(
    "longwave_chore_age_seconds",
    "Since when a chore of the beat was not done; written down every 10 seconds",
    _BY_CHORE,
)
CHORE_SECONDS = Figure("longwave_chore_duration_seconds", "How long a chore took the last time", _BY_CHORE)
CHORE_FAILED = Figure("longwave_chore_failed", "1 when a chore failed the last time", _BY_CHORE)
SCHEDULES = Figure(
    "longwave_schedules",
    "Schedules by state: kept, paused, or failing, whose time has come and could not be submitted",
    ("state",),
)


def _read() -> Iterator[Reading]:
    yield Reading(BEAT, float(liveness.is_anything_running()))
    now = database.now()
    for run in ChoreRun.objects.filter(last_at__gt=now - FORGOTTEN_AFTER):
        chore = (run.name.removeprefix("longwave."),)
        yield Reading(CHORE_AGE, max(0.0, (now - run.last_at).total_seconds()), chore)
        yield Reading(CHORE_SECONDS, run.duration_ms / 1000, chore)
        yield Reading(CHORE_FAILED, float(bool(run.error)), chore)
    yield from _schedules()


def _schedules() -> Iterator[Reading]:
    is_paused, is_failing = Q(paused_at__isnull=False), ~Q(problem="")
    counts = Schedule.objects.aggregate(
        paused=Count("pk", filter=is_paused),
        failing=Count("pk", filter=is_failing & ~is_paused),
        kept=Count("pk", filter=~is_failing & ~is_paused),
    )
    yield from (Reading(SCHEDULES, count, (state,)) for state, count in counts.items())


PART = Part("clockwork", (BEAT, CHORE_AGE, CHORE_SECONDS, CHORE_FAILED, SCHEDULES), _read)
