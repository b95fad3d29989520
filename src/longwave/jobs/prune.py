"""Forgetting finished jobs by age, in small transactions."""

from datetime import timedelta

from longwave.jobs import ledger
from longwave.jobs.chores import chore
from longwave.jobs.models import Status

KEEP_DONE = timedelta(days=7)
KEEP_FAILED = timedelta(days=30)
CHUNK = 1000
MAX_CHUNKS = 20
"""What one turn deletes at most, so that the other chores are not kept waiting."""


@chore(every=60.0)
def prune() -> int:
    """Delete successes and cancelled jobs after a week, failures after a month; how many."""
    return _prune(KEEP_DONE, [Status.SUCCESS, Status.CANCELLED]) + _prune(KEEP_FAILED, [Status.FAILURE])


def _prune(age: timedelta, statuses: list[Status]) -> int:
    total = 0
    for _ in range(MAX_CHUNKS):
        deleted = ledger.delete_finished(age, CHUNK, statuses)
        total += deleted
        if deleted < CHUNK:
            break
    return total
