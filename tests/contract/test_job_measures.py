"""What is told to whoever counts jobs, on every database: each end once, and how long was waited for it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import structlog.testing
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from longwave.jobs import Again, cancelling, deserted, job, job_context, ledger, measures, runner, sweep
from longwave.jobs.measures import Ended, Ran
from longwave.jobs.models import Job, Status

told: list[Any] = []


@job("measures.work", retries=1, backoff=(10,))
def work(how: str = "") -> object:
    """End as told."""
    if how == "cancel":
        cancelling.cancel(job_context.current().id, "not wanted")
        job_context.current().checkpoint(1)
    if how == "fail":
        raise RuntimeError(how)
    return Again() if how == "again" else object() if how == "no json" else how


@job("measures.followed")
def followed() -> None:
    """Has a subscriber, so it is never written down with others."""


@followed.on_success
def _follow(event: object) -> None:
    """Nothing."""


@pytest.fixture(autouse=True)
def _afresh(database: str, rung: list[tuple[int, int]]) -> Iterator[None]:
    told.clear()
    for kind in (Ran, Ended):
        measures.observe(kind, told.append)
    yield
    measures.forget_observers()


def endings() -> Counter[str]:
    return Counter(str(value.ending) for value in told if isinstance(value, Ended))


def run_together(*hows: str, **options: Any) -> list[int]:
    ids = work.submit_many([{"how": how, **options} for how in hows])
    runner.perform("measures.work", [(job_id, 1) for job_id in ids])
    return ids


def age(ids: Sequence[int], **moments: float) -> None:
    changes = {name: timezone.now() - timedelta(seconds=seconds) for name, seconds in moments.items()}
    Job.objects.filter(pk__in=ids).update(**changes)


def test_every_end_is_told_once_together_and_alone() -> None:
    hows = ("a", "b", "fail", "cancel", "no json", "again", "c")
    run_together(*hows)
    expected = {"success": 3, "retry": 1, "cancelled": 1, "failure": 1}
    assert endings() == expected
    assert sum(isinstance(value, Ran) for value in told) == len(hows)
    told.clear()
    for how in hows:
        runner.execute(work.submit(how=how).id, 1)
    assert endings() == expected
    assert {(value.name, value.queue) for value in told} == {("measures.work", "default")}


def test_an_end_that_a_subscriber_is_told_of_is_told_once() -> None:
    ids = followed.submit_many([{}, {}])
    runner.perform("measures.followed", [(job_id, 1) for job_id in ids])
    assert endings() == {"success": 2}


def test_an_end_that_came_too_late_is_not_told() -> None:
    ids = work.submit_many([{"how": "a"}, {"how": "b"}])
    claims = ledger.claim_many("measures.work", [(job_id, 1) for job_id in ids], "me", 30.0)
    Job.objects.filter(pk=ids[0]).update(owner="another", seq=2)
    runner.Bundle(work, claims, job_context.now() + 30).run()
    assert endings() == {"success": 1}


def test_a_second_failure_and_what_workers_die_of_are_failures() -> None:
    (job_id,) = run_together("fail")
    age([job_id], run_at=1)
    Job.objects.filter(pk=job_id).update(status=Status.QUEUED)
    runner.execute(job_id, 1)
    assert endings() == {"retry": 1, "failure": 1}
    told.clear()
    for name in ("measures.work", "measures.of_another_version"):
        held = ledger.claim(Job.objects.get(pk=work.submit().id), 1, "me", 30.0)
        assert held is not None
        Job.objects.filter(pk=held.id).update(crashes=9, name=name)
    age(list(Job.objects.filter(status="running").values_list("pk", flat=True)), lease_until=1)
    assert sweep.return_expired() == 2
    assert [(value.name, value.ending) for value in told] == [
        ("measures.work", "failure"), ("measures.of_another_version", "failure"),
    ]  # fmt: skip


def test_a_cancelled_job_whose_worker_died_is_told() -> None:
    held = ledger.claim(Job.objects.get(pk=work.submit().id), 1, "me", 30.0)
    assert held is not None
    cancelling.cancel(held.id, "not wanted")
    age([held.id], lease_until=1)
    sweep.return_expired()
    assert endings() == {"cancelled": 1}


def have_waited(*seconds: float) -> bool:
    found = [value.waited for value in told if isinstance(value, Ran)]
    return found == pytest.approx(list(seconds), abs=15)


def claimed(job_id: int) -> None:
    """Run it as a message for it and another one does, and by itself."""
    seq = Job.objects.get(pk=job_id).seq
    runner.perform("measures.work", [(job_id, seq), (10**9, 1)])


@pytest.mark.parametrize("options", [{}, {"job_serial_key": "k"}], ids=["together", "alone"])
def test_the_wait_is_from_submit_or_due_or_the_last_turn(options: dict[str, str]) -> None:
    new = work.submit(how="again", **options).id
    age([new], created_at=600, ready_at=500)
    claimed(new)
    assert have_waited(500)
    age([new], ready_at=40)  # its last turn ended then
    claimed(new)
    assert have_waited(500, 40)
    Job.objects.filter(pk=new).update(status=Status.RETRY, serial_slot=None, seq=9)
    age([new], run_at=70)
    assert sweep.queue_due() == 1
    claimed(new)
    assert have_waited(500, 40, 70)


def test_a_job_that_comes_back_from_the_dead_has_not_waited_while_it_ran() -> None:
    row = Job.objects.get(pk=work.submit().id)
    age([row.pk], created_at=500, ready_at=400)
    held = ledger.claim(Job.objects.get(pk=row.pk), 1, "me", 30.0)
    assert held is not None
    assert deserted.give_back(Job.objects.get(pk=row.pk), is_dead=True)
    claimed(row.pk)
    assert have_waited(0)


def test_being_observed_costs_no_statement() -> None:
    def statements() -> int:
        ids = work.submit_many([{"how": str(number)} for number in range(10)])
        with CaptureQueriesContext(connection) as captured:
            runner.perform("measures.work", [(job_id, 1) for job_id in ids])
        return len(captured)

    observed = statements()
    measures.forget_observers()
    assert statements() == observed <= 3


def test_an_observer_that_raises_changes_nothing_and_says_so_once() -> None:
    def broken(value: Ended) -> None:
        raise OSError("no space left")

    measures.observe(Ended, broken)
    with structlog.testing.capture_logs() as logs:
        ids = run_together("a", "b")
    assert set(Job.objects.filter(pk__in=ids).values_list("status", flat=True)) == {"success"}
    assert [line["event"] for line in logs].count("not_measured") == 1
