"""Jobs of every state are found as people look for them, on every database."""

from datetime import timedelta
from typing import Any

import pytest

from longwave import database
from longwave.jobs import listing
from longwave.jobs.listing import Sought
from longwave.jobs.models import ACTIVE, FINISHED, Job, Status


@pytest.fixture(autouse=True)
def _on_each(database: str) -> None:
    """Each test runs on each database."""


def made(status: Status, minutes: float = 0, **columns: Any) -> int:
    """A job in this state; minutes: ago that it began to run or to wait or ended, or from now on that it waits."""
    ago = database.now() - timedelta(minutes=minutes)
    when = {
        Status.RUNNING: {"started_at": ago},
        Status.QUEUED: {"ready_at": ago},
        Status.RETRY: {"run_at": database.now() + timedelta(minutes=minutes)},
        Status.SCHEDULED: {"run_at": database.now() + timedelta(minutes=minutes)},
    }.get(status, {"finished_at": ago})
    values = {"name": "listed.work", "queue": "default", "status": status, **when, **columns}
    return int(Job.objects.create(**values).pk)


def found(sought: Sought, limit: int = 50) -> list[int]:
    return [row.pk for row in listing.find(sought, limit)]


def test_what_is_at_work_comes_first_and_the_rest_in_its_order() -> None:
    late, soon = made(Status.SCHEDULED, 60), made(Status.SCHEDULED, 5)
    retried = made(Status.RETRY, 90)
    second, first = made(Status.QUEUED, 3, queue="email"), made(Status.QUEUED, 7)
    third = made(Status.QUEUED, 1)
    short, long = made(Status.RUNNING, 1), made(Status.RUNNING, 9)
    made(Status.SUCCESS)
    assert found(Sought()) == [long, short, first, second, third, retried, soon, late]
    assert found(Sought(), 4) == [long, short, first, second]
    assert listing.count(Sought()) == 8


def test_of_what_has_ended_the_latest_comes_first() -> None:
    old, new = made(Status.SUCCESS, 9), made(Status.SUCCESS, 1)
    failed = made(Status.FAILURE, 5)
    made(Status.QUEUED)
    assert found(Sought((Status.SUCCESS,))) == [new, old]
    assert found(Sought(FINISHED)) == [failed, new, old]


def test_all_that_is_said_of_a_job_must_be_true() -> None:
    wanted = made(Status.QUEUED, queue="email", name="listed.other", serial_key="shop")
    for differs in ({"queue": "default"}, {"name": "listed.work"}, {"serial_key": "bank"}):
        made(Status.QUEUED, **{"queue": "email", "name": "listed.other", "serial_key": "shop"} | differs)
    sought = Sought(ACTIVE, "email", "listed.other", "shop")
    assert found(sought) == [wanted]
    assert listing.count(sought) == 1
    assert found(Sought((Status.RUNNING,), "email")) == []
