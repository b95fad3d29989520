"""Taking jobs back and hearing how far they are, the same on every database."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now
from django.utils import timezone

from longwave import background
from longwave.core.errors import InvalidInput, NotFound
from longwave.jobs import (
    Again,
    Cancelled,
    cancelling,
    deserted,
    job,
    job_context,
    leases,
    ledger,
    pending,
    runner,
    sweep,
    watch,
)
from longwave.jobs.models import Job, Status

seen: list[Any] = []


@job("cancelling.work", queue="import", retries=1, backoff=(10,))
def work(plan: str = "") -> object:
    """Be cancelled while it runs, and do as told then."""
    context = job_context.current()
    if plan:
        assert background.cancel(context.id, "no longer wanted")
    match plan:
        case "checkpoint":
            context.checkpoint("stored")
        case "raise":
            raise RuntimeError("no luck")
        case "again":
            return Again()
        case "later":
            return Again(after=60)
    return "done"


@job("cancelling.itself")
def itself() -> None:
    """Decide that there is nothing to do."""
    raise Cancelled("the user left")


@job("cancelling.steps")
def steps(count: int) -> None:
    """Say how far it is."""
    context = job_context.current()
    for number in range(count):
        context.progress(number + 1, count, f"step {number + 1}")


@pytest.fixture(autouse=True)
def _afresh(rung: list[tuple[int, int]]) -> None:
    seen.clear()


def row(job_id: int) -> Job:
    return Job.objects.get(pk=job_id)


def claimed(job_id: int) -> ledger.Claim:
    found = row(job_id)
    held = ledger.claim(found, found.seq, "host:1:2:x", 30.0)
    assert held is not None
    return held


# What waits


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.QUEUED, Status.RETRY])
def test_what_waits_is_cancelled_at_once_and_is_never_run(database: str, status: Status) -> None:
    task_id = work.submit(job_dedupe_key="d").id
    Job.objects.update(status=status, run_at=Now() - timedelta(seconds=1))
    assert background.cancel(task_id, "changed my mind")
    assert not runner.execute(task_id, row(task_id).seq)
    assert sweep.queue_due() == 0
    ended = background.get_task_result(task_id)
    assert ended.status == "failure"
    assert (ended.metadata["state"], ended.metadata["reason"]) == ("cancelled", "changed my mind")
    assert ended.metadata["finished_at"] is not None
    assert work.submit(job_dedupe_key="d").created


def test_a_cancelled_job_makes_room_for_the_next_of_its_key(database: str, rung: list[Any]) -> None:
    first, second = work.submit_many([{"job_serial_key": "k"}, {"job_serial_key": "k"}])
    rung.clear()
    background.cancel(first)
    assert rung == [(second, 1)]


def test_what_has_ended_stays_as_it_is(database: str) -> None:
    task_id = work.submit().id
    runner.execute(task_id, 1)
    assert not background.cancel(task_id)
    assert row(task_id).status == Status.SUCCESS
    with pytest.raises(NotFound, match="no task"):
        background.cancel(task_id + 1)


# What runs


@pytest.mark.parametrize("plan", ["checkpoint", "raise", "again", "later"])
def test_a_running_job_ends_at_its_checkpoint_or_where_it_would_have_gone_on(
    database: str, plan: str
) -> None:
    task_id, behind = work.submit_many([{"plan": plan, "job_serial_key": "k"}, {"job_serial_key": "k"}])
    assert runner.execute(task_id, 1)
    ended = row(task_id)
    assert (ended.status, ended.cancel_reason) == (Status.CANCELLED, "no longer wanted")
    assert (ended.lease_until, ended.serial_slot, ended.finished_at is None) == (None, None, False)
    assert ended.checkpoint == ("stored" if plan == "checkpoint" else None)
    assert runner.execute(behind, 1)


def test_a_running_job_that_asks_nothing_is_done_when_it_is_done(database: str) -> None:
    task_id = work.submit(plan="finish").id
    runner.execute(task_id, 1)
    assert (row(task_id).status, row(task_id).result) == (Status.SUCCESS, "done")


def test_a_job_may_cancel_itself(database: str) -> None:
    task_id = itself.submit().id
    runner.execute(task_id, 1)
    assert (row(task_id).status, row(task_id).cancel_reason) == (Status.CANCELLED, "the user left")


def test_a_cancelled_job_whose_worker_died_is_not_given_back(database: str) -> None:
    task_id = work.submit().id
    claimed(task_id)
    (before,) = deserted.owned_by("host:1:")
    assert background.cancel(task_id, "enough")
    # It was read before it was cancelled.
    assert not deserted.give_back(before, is_dead=True)
    assert sweep.expire_owner("host:1:") == 1
    assert (row(task_id).status, row(task_id).cancel_reason) == (Status.CANCELLED, "enough")


def test_a_job_that_starts_while_it_is_cancelled_is_asked_to_stop(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = work.submit().id
    cancel = pending.cancel

    def too_late(ids: list[int], reason: str) -> int:
        claimed(task_id)
        return cancel(ids, reason)

    monkeypatch.setattr(pending, "cancel", too_late)
    assert cancelling.cancel(task_id, "race")
    assert (row(task_id).status, row(task_id).cancel_reason) == (Status.RUNNING, "race")


def test_of_a_claim_and_a_cancel_at_the_same_moment_one_wins(database: str) -> None:
    ids = work.submit_many([{} for _ in range(30)])
    won: dict[int, bool] = {}

    def claim() -> None:
        for job_id in ids:
            won[job_id] = ledger.claim(row(job_id), 1, "host:1:2:x", 30.0) is not None
        connections.close_all()

    other = threading.Thread(target=claim)
    other.start()
    for job_id in reversed(ids):
        assert background.cancel(job_id, "race")
    other.join()
    for job_id in ids:
        assert row(job_id).status == (Status.RUNNING if won[job_id] else Status.CANCELLED)
        assert row(job_id).cancel_reason == "race"


def test_all_jobs_of_a_name_are_taken_back_also_one_that_starts_meanwhile(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "CHUNK", 2)
    waiting = [*work.submit_many([{} for _ in range(5)]), work.submit(job_queue="email").id]
    running, starts, other = work.submit().id, work.submit().id, itself.submit().id
    claimed(running)
    cancel = pending.cancel

    def late(ids: list[int], reason: str) -> int:
        if row(starts).status == Status.QUEUED:
            claimed(starts)
        return cancel(ids, reason)

    monkeypatch.setattr(pending, "cancel", late)
    assert cancelling.cancel_all("a mistake", name=work.name) == cancelling.Taken(6, 2)
    assert {row(job_id).status for job_id in waiting} == {Status.CANCELLED}
    begun = [row(job_id) for job_id in (running, starts)]
    assert {(one.status, one.cancel_reason) for one in begun} == {(Status.RUNNING, "a mistake")}
    assert row(other).status == Status.QUEUED
    assert cancelling.cancel_all("again", name=work.name, queue="email") == cancelling.Taken(0, 0)
    with pytest.raises(InvalidInput, match="queue = ''"):
        cancelling.cancel_all("everything")


# Queues


def test_purging_cancels_what_waits_in_one_queue_and_nothing_else(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "CHUNK", 2)
    waiting = work.submit_many([{} for _ in range(5)])
    later = work.submit(job_run_at=timezone.now() + timedelta(days=1)).id
    running, elsewhere = work.submit().id, work.submit(job_queue="email").id
    claimed(running)
    assert background.purge_queue("import") == 6
    assert {row(job_id).status for job_id in [*waiting, later]} == {Status.CANCELLED}
    assert row(later).cancel_reason == "the queue import was purged"
    assert (row(running).status, row(elsewhere).status) == (Status.RUNNING, Status.QUEUED)
    assert background.purge_queue("import") == 0
    with pytest.raises(InvalidInput, match="queue = 'imprt': must be one of"):
        background.purge_queue("imprt")


def test_purging_rings_for_those_behind_in_other_queues(database: str, rung: list[tuple[int, int]]) -> None:
    for key in ("a", "b"):
        work.submit(job_serial_key=key)
    behind = [work.submit(job_serial_key=key, job_queue="email").id for key in ("a", "b")]
    work.submit(job_serial_key="a", job_queue="email")
    rung.clear()
    assert background.purge_queue("import") == 2
    assert sorted(rung) == [(job_id, 1) for job_id in behind]


def test_purging_in_a_callers_transaction_rings_after_its_commit(
    database: str, rung: list[tuple[int, int]]
) -> None:
    work.submit(job_serial_key="a")
    behind = work.submit(job_serial_key="a", job_queue="email").id
    rung.clear()
    with transaction.atomic():
        assert background.purge_queue("import") == 1
        assert rung == []
    assert rung == [(behind, 1)]


# Progress


def test_the_last_progress_is_there_when_the_job_has_ended(database: str) -> None:
    task_id = steps.submit(count=3).id
    runner.execute(task_id, 1)
    assert background.get_task_result(task_id).metadata["progress"] == {
        "done": 3,
        "total": 3,
        "note": "step 3",
    }


def test_progress_is_written_by_a_look_at_the_job_and_only_when_it_changed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, writes = running_context(), []
    write = leases.progress
    monkeypatch.setattr(
        leases, "progress", lambda *values: writes.append(values[-1]["done"]) or write(*values)
    )
    for number in range(100):
        context.progress(number)
    watch._look(context)
    watch._look(context)
    assert background.get_task_result(context.id).metadata["progress"]["done"] == 99
    context.progress(100)
    watch.settle(context)
    watch.settle(context)
    assert writes == [99, 100]


def test_a_look_tells_a_running_job_that_it_is_cancelled(database: str) -> None:
    context = running_context()
    watch._look(context)
    context.progress(1)
    assert not context.cancelled
    background.cancel(context.id, "enough")
    watch._look(context)
    assert context.cancelled
    with pytest.raises(Cancelled, match="enough"):
        context.progress(2)


def test_a_progress_that_no_database_takes_is_refused_or_mended(database: str) -> None:
    context = running_context()
    for wrong in (float("nan"), float("inf"), "half", None):
        with pytest.raises(InvalidInput, match="done = "):
            context.progress(wrong)  # type: ignore[arg-type]
    context.progress(1, 2, "a\0b\ud800" + "c" * 500)
    watch._look(context)
    stored = row(context.id).progress
    assert stored["note"].startswith("a\ufffdb?c")
    assert len(stored["note"]) == job_context.MAX_NOTE


def test_progress_without_the_lease_changes_nothing_and_says_so(database: str) -> None:
    context = running_context()
    context.progress(1)
    Job.objects.update(seq=2)
    watch._look(context)
    assert row(context.id).progress is None
    context.lose()
    with pytest.raises(job_context.LeaseLost):
        context.progress(2)


def running_context() -> job_context.JobContext:
    held = claimed(work.submit().id)
    return runner.running.context_of(held, job_context.now() + 30)


# Whose child it is


@job("cancelling.parent")
def parent() -> int:
    """Submit another."""
    return work.submit().id


@job("cancelling.awaited")
async def awaited() -> int | None:
    """Who is running here?"""
    return job_context.current_id()


def test_a_job_submitted_by_a_job_knows_its_parent(database: str) -> None:
    task_id, other = parent.submit().id, awaited.submit().id
    runner.execute(task_id, 1)
    runner.execute(other, 1)
    child = row(task_id).result
    assert background.get_task_result(child).metadata["parent_id"] == task_id
    assert row(task_id).parent_id is None
    assert row(other).result == other
