"""Forgetting finished jobs by age, in small transactions."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.db.models.functions import Now

from longwave import config
from longwave.jobs.chores import chore
from longwave.jobs.models import Job, JobSpan, Status

CHUNK = 1000

BUDGET = 1.0
"""Seconds that one turn may take: the other chores wait meanwhile. What is left is for the next one, which is soon."""


@chore(every=2.0)
def prune() -> int:
    """Delete successes and cancelled jobs, and later failures, when they have been kept long enough; how many."""
    deadline, total = time.monotonic() + BUDGET, 0
    for deleted in _in_chunks():
        total += deleted
        if time.monotonic() >= deadline:
            break
    return total


def _in_chunks() -> Iterator[int]:
    """Delete a chunk of each status in turns, so that many of one do not keep the others, until there is no more."""
    ages = dict(_ages())
    while ages:
        for status, age in list(ages.items()):
            ids = _older_than(age, status)
            _delete(ids)
            if len(ids) < CHUNK:
                del ages[status]
            yield len(ids)


def _ages() -> Iterator[tuple[Status, timedelta]]:
    kept = config.current()
    yield Status.SUCCESS, timedelta(days=kept.keep_done)
    yield Status.CANCELLED, timedelta(days=kept.keep_done)
    yield Status.FAILURE, timedelta(days=kept.keep_failed)


def _older_than(age: timedelta, status: Status) -> list[int]:
    # A list of ids, not a subquery: MySQL knows no LIMIT in a subquery of IN.
    old = Job.objects.filter(status=status, finished_at__lt=Now() - age).order_by("finished_at")
    return list(old.values_list("pk", flat=True)[:CHUNK])


def _delete(ids: Sequence[int]) -> None:
    if ids:
        JobSpan.objects.filter(job_id__in=ids)._raw_delete("default")
        Job.objects.filter(pk__in=ids)._raw_delete("default")
