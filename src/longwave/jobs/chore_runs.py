"""When each chore was last done, for people to see. Written down now and then: chores run every second."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from longwave import database
from longwave.jobs.models import ChoreRun

WRITE_EVERY = 10.0
"""Seconds between two times the beat writes down what it did."""


@dataclass(frozen=True, slots=True)
class Run:
    """A chore, done once. at: seconds of the beat's own clock. error: what it raised, or empty."""

    at: float
    duration_ms: float
    error: str = ""


def write(runs: dict[str, Run], now: float) -> None:
    """The latest run of each of these chores, in one transaction. now: seconds of the beat's own clock."""
    start = database.now() - timedelta(seconds=now)
    with transaction.atomic():
        for name, run in sorted(runs.items()):
            at = start + timedelta(seconds=run.at)
            fields = {"last_at": at, "duration_ms": run.duration_ms, "error": run.error[:255]}
            ChoreRun.objects.update_or_create(name=name, defaults=fields)
