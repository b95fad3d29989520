"""Subscribers and spans, the same on every database: told what the ledger has, and never in the way of it."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from longwave import background
from longwave.core.errors import Conflict, NotFound
from longwave.jobs import (
    Again,
    Cancelled,
    JobEvent,
    failed,
    hooks,
    job,
    job_context,
    ledger,
    prune,
    runner,
    spans,
    sweep,
    timeline,
    trace_operation,
    watch,
)
from longwave.jobs.failed import Wanted
from longwave.jobs.models import Job, JobSpan, Status

told: list[tuple[str, JobEvent]] = []


def given(event: JobEvent) -> None:
    """Given to the declaration."""
    told.append(("given", event))


@job("hooks.work", retries=1, backoff=(10,), on_success=[given], on_failure=[given], on_retry=[given])
def work(plan: str = "") -> object:
    """Do as told."""
    match plan:
        case "raise":
            raise RuntimeError("no luck")
        case "again":
            return Again()
        case "cancel":
            raise Cancelled("enough")
        case "odd":
            return object()
    return {"did": plan}


@work.on_success
async def afterwards(event: JobEvent) -> None:
    """Look whether the ledger has it, on the loop."""
    await asyncio.sleep(0)
    told.append(("afterwards", event))


@job("hooks.broken")
def broken() -> str:
    """Succeed."""
    return "fine"


@broken.on_success
def raises(event: JobEvent) -> None:
    """Fail."""
    raise SystemExit(1)


@broken.on_success
def follows(event: JobEvent) -> None:
    """Come after one that failed, and see what the ledger has."""
    told.append((str(row(event.id).status), event))


@job("hooks.traced")
def traced(count: int, *, fails: bool = False) -> None:
    """Record operations."""
    for number in range(count):
        with trace_operation(f"step {number}", component="parts"):
            pass
    if fails:
        with trace_operation("last \0" + "n" * 200):
            raise KeyError("gone")


@job("hooks.traced_awaited")
async def traced_awaited() -> None:
    """Record an operation that waits."""
    with trace_operation("await", "loop"):
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _afresh(rung: list[tuple[int, int]]) -> None:
    told.clear()


def row(job_id: int) -> Job:
    return Job.objects.get(pk=job_id)


# Hooks


def test_subscribers_are_told_of_a_success_with_what_came_out(database: str) -> None:
    task_id = work.submit(plan="x").id
    runner.execute(task_id, 1)
    expected = JobEvent(
        hooks.Outcome.SUCCESS, task_id, "hooks.work", "default", {"plan": "x"}, 1, {"did": "x"}
    )
    assert told == [("given", expected), ("afterwards", expected)]


def test_subscribers_are_told_of_a_retry_and_of_the_end(database: str) -> None:
    task_id = work.submit(plan="raise").id
    runner.execute(task_id, 1)
    Job.objects.update(run_at=Now() - timedelta(seconds=1))
    sweep.queue_due()
    runner.execute(task_id, 2)
    (_, retried), (_, failed) = told
    assert (retried.outcome, retried.attempt, retried.error) == ("retry", 1, "RuntimeError: no luck")
    assert retried.retry_in == pytest.approx(10, rel=0.11)
    assert (failed.outcome, failed.attempt, failed.error) == ("failure", 2, "RuntimeError: no luck")


def test_a_result_that_cannot_be_kept_is_a_failure_to_subscribers_too(database: str) -> None:
    runner.execute(work.submit(plan="odd").id, 1)
    assert [(event.outcome, "what it returned" in event.error) for _, event in told] == [("failure", True)]


def test_another_turn_and_a_cancelled_job_are_told_to_nobody(database: str) -> None:
    for plan in ("again", "cancel"):
        runner.execute(work.submit(plan=plan).id, 1)
    assert told == []


def test_jobs_of_one_message_are_each_told(database: str) -> None:
    ids = work.submit_many([{"plan": str(number)} for number in range(4)])
    runner.perform("hooks.work", [(job_id, 1) for job_id in ids])
    assert [event.id for who, event in told if who == "given"] == ids
    assert {row(job_id).status for job_id in ids} == {Status.SUCCESS}


def test_a_job_under_which_workers_died_is_told_as_failed(database: str) -> None:
    task_id = work.submit().id
    held = ledger.claim(row(task_id), 1, "host:1:2:x", 30.0)
    assert held is not None
    Job.objects.update(crashes=2, lease_until=Now() - timedelta(seconds=1))
    sweep.return_expired()
    assert [(event.outcome, "died 3 times" in event.error) for _, event in told] == [("failure", True)]


def test_a_subscriber_that_fails_changes_nothing_and_keeps_nobody_from_being_told(database: str) -> None:
    task_id = broken.submit().id
    assert runner.execute(task_id, 1)
    assert (row(task_id).status, row(task_id).result) == (Status.SUCCESS, "fine")
    assert [status for status, _ in told] == ["success"]


def test_a_run_that_lost_its_lease_tells_nobody(database: str) -> None:
    @job("hooks.loses")
    def loses() -> None:
        Job.objects.update(seq=2)

    loses.on_success(given)
    runner.execute(loses.submit().id, 1)
    assert told == []


def test_metrics_subscribe_to_every_job(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "EVERY", hooks.none())
    hooks.EVERY[hooks.Outcome.SUCCESS].append(lambda event: told.append(("every", event)))
    runner.execute(traced.submit(count=0).id, 1)
    runner.execute(work.submit().id, 1)
    assert [who for who, _ in told] == ["every", "every", "given", "afterwards"]


# Spans and the timeline


def test_operations_are_kept_with_the_job_between_its_other_moments(database: str) -> None:
    task_id = traced.submit(count=2, fails=True).id
    runner.execute(task_id, 1)
    found = background.get_task_timeline(task_id)
    assert [moment.what for moment in found[:4]] == ["submitted", "started", "step 0", "step 1"]
    last, retry = found[4:]
    assert (found[2].component, found[2].detail) == ("parts", "")
    assert found[2].duration_ms is not None
    assert len(last.what) == 100
    assert last.detail == "KeyError: 'gone'"
    assert (retry.what, retry.detail) == ("retry", "KeyError: 'gone'")


def test_an_operation_that_waits_on_the_loop_is_timed(database: str) -> None:
    task_id = traced_awaited.submit().id
    runner.execute(task_id, 1)
    _, _, span, end = background.get_task_timeline(task_id)
    assert (span.what, span.component) == ("await", "loop")
    assert span.duration_ms is not None
    assert span.duration_ms >= 9
    assert end.what == "success"


def test_a_timeline_tells_why_it_ended(database: str) -> None:
    task_id = work.submit().id
    background.cancel(task_id, "enough")
    assert [(moment.what, moment.detail) for moment in background.get_task_timeline(task_id)] == [
        ("submitted", ""),
        ("cancelled", "enough"),
    ]
    with pytest.raises(NotFound):
        background.get_task_timeline(task_id + 1)


def test_no_more_than_so_many_operations_are_kept_of_a_job(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MAX_SPANS", 5)
    task_id = traced.submit(count=8).id
    runner.execute(task_id, 1)
    assert [span.name for span in JobSpan.objects.order_by("pk")] == [f"step {number}" for number in range(5)]


def test_operations_of_a_running_job_are_seen_and_written_once(database: str) -> None:
    held = ledger.claim(row(work.submit().id), 1, "host:1:2:x", 30.0)
    assert held is not None
    context = runner.running.context_of(held, job_context.now() + 30)
    token = job_context.enter(context)
    try:
        with trace_operation("first"):
            pass
        watch._look(context)
        with trace_operation("second"):
            pass
    finally:
        job_context.leave(token)
    assert [span.name for span in JobSpan.objects.all()] == ["first"]
    watch.settle(context)
    watch.settle(context)
    assert [span.name for span in JobSpan.objects.order_by("pk")] == ["first", "second"]


def test_operations_go_with_their_job(database: str) -> None:
    old, lost, young = (traced.submit(count=1).id for _ in range(3))
    for task_id in (old, lost, young):
        runner.execute(task_id, 1)
    Job.objects.filter(pk=old).update(finished_at=Now() - timedelta(days=8))
    assert prune.prune() == 1
    Job.objects.filter(pk=lost).update(status=Status.FAILURE)
    with pytest.raises(Conflict, match=f"Job {young} has not failed"):
        failed.forget(Wanted(ids=(lost, young)))
    assert failed.forget(Wanted(ids=(lost,))) == 1
    assert [span.job_id for span in JobSpan.objects.all()] == [young]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    spans._tracer.cache_clear()
    yield exporter
    spans._tracer.cache_clear()


def test_opentelemetry_hears_of_an_operation(sqlite: str, exported: InMemorySpanExporter) -> None:
    task_id = traced.submit(count=1, fails=True).id
    runner.execute(task_id, 1)
    with trace_operation("outside", "bot"):
        pass
    first, failed, outside = exported.get_finished_spans()
    assert (first.name, dict(first.attributes or {})) == (
        "step 0",
        {"longwave.component": "parts", "longwave.job_id": task_id},
    )
    assert not failed.status.is_ok
    assert failed.events[0].name == "exception"
    assert (outside.name, dict(outside.attributes or {})) == ("outside", {"longwave.component": "bot"})


def test_without_opentelemetry_operations_are_still_kept(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    spans._tracer.cache_clear()
    try:
        runner.execute(traced.submit(count=1).id, 1)
        assert spans._tracer() is None
    finally:
        spans._tracer.cache_clear()
    assert JobSpan.objects.count() == 1


def test_an_operation_outside_of_a_job_is_kept_nowhere(sqlite: str) -> None:
    with pytest.raises(ValueError, match="mine"), trace_operation("alone"):
        raise ValueError("mine")
    assert JobSpan.objects.count() == 0
