"""Jobs that come after others, the same on every database: released once, by whichever ends last, or taken back."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from longwave import background
from longwave.core.errors import InvalidInput
from longwave.jobs import job, ledger, runner, sweep, waiting
from longwave.jobs.models import Job, Status, Wait

pytestmark = pytest.mark.usefixtures("rung")


@job("waiting.stage", retries=0)
def stage(plan: str = "") -> str:
    """Succeed, or do as told."""
    if plan == "raise":
        raise RuntimeError("no luck")
    return plan


def row(job_id: int) -> Job:
    return Job.objects.get(pk=job_id)


def submit(*after: int, plan: str = "", **options: Any) -> int:
    return background.submit("waiting.stage", plan=plan, after=after, **options)


def claimed(job_id: int) -> ledger.Claim:
    found = row(job_id)
    held = ledger.claim(found, found.seq, f"host:1:2:{job_id}", 30.0)
    assert held is not None
    return held


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Each in a thread and on a connection of its own, begun together."""
    barrier = threading.Barrier(len(works))

    def one(work: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


# Success


def test_a_stage_is_rung_when_the_one_before_it_has_succeeded(database: str, rung: list[Any]) -> None:
    first = submit(plan="one")
    second = submit(first)
    third = submit(second)
    assert rung == [(first, 1)]
    assert background.get_task_result(second).metadata["waits_for"] == [first]
    assert not runner.execute(second, 1)
    assert sweep.queue_due() == 0
    for before, after in ((first, second), (second, third)):
        rung.clear()
        assert runner.execute(before, row(before).seq)
        assert rung == [(after, 2)]
    assert runner.execute(third, 2)
    assert Wait.objects.count() == 0


def test_a_stage_waits_for_all_of_several(database: str, rung: list[Any]) -> None:
    parents = [submit() for _ in range(3)]
    child = submit(*parents, *parents)
    for parent in parents:
        assert row(child).status == Status.SCHEDULED
        runner.execute(parent, 1)
    assert (row(child).status, row(child).is_waiting) == (Status.QUEUED, False)
    assert rung[-1] == (child, 2)


def test_a_stage_whose_jobs_have_succeeded_already_runs_at_once(database: str, rung: list[Any]) -> None:
    parent = submit()
    runner.execute(parent, 1)
    child = submit(parent)
    assert rung[-1] == (child, 1)
    assert runner.execute(child, 1)


def test_a_stage_with_a_moment_of_its_own_waits_for_both(database: str, rung: list[Any]) -> None:
    parent = submit()
    child = submit(parent, run_at=timezone.now() + timedelta(hours=1))
    overdue = submit(parent, run_at=timezone.now() + timedelta(hours=1))
    Job.objects.filter(pk=overdue).update(run_at=Now() - timedelta(seconds=1))
    assert sweep.queue_due() == 0
    runner.execute(parent, 1)
    assert (row(child).status, row(child).is_waiting) == (Status.SCHEDULED, False)
    assert row(overdue).status == Status.QUEUED
    Job.objects.filter(pk=child).update(run_at=Now() - timedelta(seconds=1))
    assert sweep.queue_due() == 1


def test_the_jobs_of_one_message_release_what_waits_for_them(database: str, rung: list[Any]) -> None:
    first, second, third = (submit() for _ in range(3))
    child = submit(second)
    rung.clear()
    runner.perform("waiting.stage", [(first, 1), (second, 1), (third, 1)])
    assert {row(job_id).status for job_id in (first, second, third)} == {Status.SUCCESS}
    assert rung == [(child, 2)]


def test_many_stages_are_released_in_chunks(
    database: str, rung: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CHUNK", 7)
    parent = submit()
    children = stage.submit_many([{"job_after": [parent]} for _ in range(20)])
    rung.clear()
    runner.execute(parent, 1)
    assert sorted(rung) == [(child, 2) for child in children]


def test_a_wide_fan_is_released_by_the_chore_in_turns(
    database: str, rung: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CHUNK", 4), ("AT_ONCE", 2), ("BUDGET", 0.0)):
        monkeypatch.setattr(waiting, name, value)
    parent, failing = submit(), submit(plan="raise")
    children = stage.submit_many([{"job_after": [parent]} for _ in range(13)])
    grandchildren = stage.submit_many([{"job_after": [child], "plan": "x"} for child in children[:3]])
    rung.clear()
    runner.execute(parent, 1)
    assert len(rung) == 8
    assert [waiting.settle() for _ in range(3)] == [1, 1, 0]
    assert sorted(rung) == [(child, 2) for child in children]
    cancelled = [submit(failing) for _ in range(13)]
    behind = [submit(job_id) for job_id in cancelled]
    runner.execute(failing, 1)
    while waiting.settle():
        pass
    assert {row(job_id).status for job_id in [*cancelled, *behind]} == {Status.CANCELLED}
    assert {row(job_id).status for job_id in grandchildren} == {Status.SCHEDULED}


def test_a_job_that_nobody_waits_for_ends_in_one_statement(
    database: str, django_statements: Callable[[Callable[[], Any]], int]
) -> None:
    held = claimed(submit())
    assert django_statements(lambda: waiting.finish_many(held.owner, [(held, None)])) == 1


@pytest.fixture
def django_statements() -> Callable[[Callable[[], Any]], int]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def count(work: Callable[[], Any]) -> int:
        with CaptureQueriesContext(connection) as caught:
            work()
        return len(caught)

    return count


# Failure


def test_what_waits_for_a_failed_job_is_cancelled_with_the_reason_down_the_line(
    database: str, rung: list[Any]
) -> None:
    first = submit(plan="raise")
    second = submit(first, dedupe_key="d")
    third = submit(second)
    runner.execute(first, 1)
    assert row(first).status == Status.FAILURE
    told = background.get_task_result(second)
    assert (told.status, told.metadata["state"]) == ("failure", "cancelled")
    assert told.metadata["reason"] == (
        f"waiting.stage {first}, which it waited for, failed: RuntimeError: no luck"
    )
    assert row(third).status == Status.CANCELLED
    assert row(third).cancel_reason.startswith(
        f"waiting.stage {second}, which it waited for, was cancelled: "
    )
    assert Wait.objects.count() == 0
    assert row(second).dedupe_slot is None


def test_a_stage_submitted_after_a_failure_is_cancelled_from_the_start(
    database: str, rung: list[Any]
) -> None:
    failed, fine = submit(plan="raise"), submit()
    runner.execute(failed, 1)
    rung.clear()
    child = submit(fine, failed)
    assert (row(child).status, "failed: RuntimeError" in row(child).cancel_reason) == (Status.CANCELLED, True)
    assert row(child).finished_at is not None
    runner.execute(fine, 1)
    assert row(child).status == Status.CANCELLED
    assert rung == []


def test_a_cancelled_purged_or_poisonous_job_takes_those_behind_it_along(database: str) -> None:
    ids = [submit(), submit(queue="import"), submit()]
    children = [submit(job_id) for job_id in ids]
    background.cancel(ids[0], "enough")
    assert row(children[0]).cancel_reason.endswith("was cancelled: enough")
    background.purge_queue("import")
    assert row(children[1]).cancel_reason.endswith("the queue import was purged")
    claimed(ids[2])
    Job.objects.filter(pk=ids[2]).update(lease_until=Now() - timedelta(seconds=1), crashes=2)
    assert sweep.return_expired() == 1
    assert "Its worker died 3 times" in row(children[2]).cancel_reason


def test_a_cancelled_stage_is_not_released_later_and_makes_room_for_its_key(
    database: str, rung: list[Any]
) -> None:
    parent, failing = submit(), submit(plan="raise")
    child, behind = submit(parent, failing, serial_key="k"), submit(serial_key="k")
    alone = submit(parent)
    background.cancel(alone)
    rung.clear()
    runner.execute(failing, 1)
    assert (row(child).status, rung) == (Status.CANCELLED, [(behind, 1)])
    rung.clear()
    runner.execute(parent, 1)
    assert rung == []
    assert (row(child).status, row(alone).status) == (Status.CANCELLED, Status.CANCELLED)


def test_a_job_that_there_is_not_is_named(database: str) -> None:
    parent = submit()
    with pytest.raises(InvalidInput, match=f"^after = {parent + 7}: there is no such task"):
        submit(parent, parent + 7)
    with pytest.raises(InvalidInput, match=r"^after = 'x'"):
        background.submit("waiting.stage", after="x")
    assert Job.objects.count() == 1


# Races


def test_of_two_that_end_at_the_same_moment_one_releases(database: str, rung: list[Any]) -> None:
    for _ in range(15):
        parents = [submit() for _ in range(4)]
        children = [submit(*parents) for _ in range(3)]
        held = [claimed(parent) for parent in parents]
        rung.clear()
        at_once(*(lambda one=one: waiting.finish_many(one.owner, [(one, None)]) for one in held))
        assert {row(parent).status for parent in parents} == {Status.SUCCESS}
        assert sorted(rung) == [(child, 2) for child in children]


def test_a_stage_submitted_while_its_job_ends_is_released_exactly_once(
    database: str, rung: list[Any]
) -> None:
    for _ in range(25):
        held = claimed(submit())
        rung.clear()
        _, child = at_once(
            lambda held=held: waiting.finish_many(held.owner, [(held, None)]),
            lambda held=held: submit(held.id),
        )
        assert row(held.id).status == Status.SUCCESS
        assert row(child).status == Status.QUEUED
        assert [job_id for job_id, _ in rung] == [child]


def test_an_end_waits_for_whoever_is_just_submitting_a_stage(database: str, rung: list[Any]) -> None:
    if "sqlite" in database:
        pytest.skip("SQLite has one writer at a time")
    held = claimed(submit())
    submitted, ending = threading.Event(), threading.Event()

    def end() -> None:
        submitted.wait(10)
        ending.set()
        assert waiting.finish_many(held.owner, [(held, None)]) == set()

    def submit_slowly() -> int:
        with transaction.atomic():
            child = submit(held.id)
            submitted.set()
            ending.wait(10)
        return child

    _, child = at_once(end, submit_slowly)
    assert row(child).status == Status.QUEUED


def test_a_release_that_a_kill_kept_from_happening_is_made_up_for(database: str, rung: list[Any]) -> None:
    parent, failed = submit(), submit(plan="raise")
    child, other, gone = submit(parent), submit(failed), submit(failed)
    for job_id, status in ((parent, Status.SUCCESS), (failed, Status.FAILURE)):
        Job.objects.filter(pk=job_id).update(status=status)
    rung.clear()
    assert waiting.settle() == 2
    assert rung == [(child, 2)]
    assert {row(job_id).status for job_id in (other, gone)} == {Status.CANCELLED}
    assert waiting.settle() == 0


def test_a_database_that_fails_while_it_releases_keeps_the_success(
    database: str, rung: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = submit()
    child = submit(parent)

    def broken(job_id: int) -> None:
        raise RuntimeError("away")

    with monkeypatch.context() as patch:
        patch.setattr(waiting, "_release_chunk", broken)
        runner.execute(parent, 1)
    assert (row(parent).status, row(child).status) == (Status.SUCCESS, Status.SCHEDULED)
    assert waiting.settle() == 1
    assert row(child).status == Status.QUEUED


def test_purging_the_heads_of_many_chains_leaves_nothing_to_the_chore(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "BUDGET", 0.0)
    heads = stage.submit_many([{} for _ in range(300)])
    for behind in ("second", "third"):
        heads = stage.submit_many(
            [{"job_after": [head], "job_queue": "email", "plan": behind} for head in heads]
        )
    assert background.purge_queue("default") == 300
    assert set(Job.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    last = row(heads[7])
    assert last.cancel_reason.startswith("waiting.stage ")
    assert "the queue default was purged" in last.cancel_reason
    assert Wait.objects.count() == 0


def test_many_that_ended_unseen_are_released_in_a_few_transactions(
    database: str, rung: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = stage.submit_many([{} for _ in range(300)])
    behind = stage.submit_many([{"job_after": [head]} for head in heads])
    Job.objects.filter(pk__in=heads).update(status=Status.SUCCESS)
    rung.clear()
    with CaptureQueriesContext(connection) as captured:
        assert waiting.settle() == 300
    assert len(captured) < 30
    assert sorted(rung) == [(job_id, 2) for job_id in behind]


def test_of_several_waited_for_one_that_failed_decides_whoever_is_released_first(database: str) -> None:
    well, badly = submit(), submit(plan="raise")
    both, one = submit(well, badly), submit(well)
    Job.objects.filter(pk=well).update(status=Status.SUCCESS)
    Job.objects.filter(pk=badly).update(status=Status.FAILURE, error="no luck")
    assert waiting.settle() == 2
    assert (row(both).status, row(one).status) == (Status.CANCELLED, Status.QUEUED)
    assert row(both).cancel_reason == f"waiting.stage {badly}, which it waited for, failed: no luck"
