"""Jobs that share a message, on every database: together while they are brief, and each for itself where it must be."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import OperationalError, connections

from longwave.core.errors import InvalidInput
from longwave.jobs import bundle, declare, endings, heartbeat, job, job_context, leases, ledger, runner
from longwave.jobs.bundle import Bundle
from longwave.jobs.models import Job, Status

ran: list[Any] = []
may_end = threading.Event()


@job("bundles.brief", retries=2, backoff=(10,))
def brief(value: Any = None) -> Any:
    """Give back what came; fail where it says so."""
    ran.append(value)
    if value == "fails":
        raise RuntimeError("as told")
    return value


@job("bundles.long")
def long(value: int) -> None:
    """The first one runs until it is allowed to end."""
    ran.append(value)
    if value == 0:
        assert may_end.wait(20)


def levels_of(number: int) -> Any:
    value: Any = 0
    for _ in range(number):
        value = [value]
    return value


@job("bundles.nested", retries=0)
def nested(levels: int) -> Any:
    """Return so many lists in one another."""
    ran.append(levels)
    return levels_of(levels)


@job("bundles.repeated", retries=0)
def repeated(text: str, times: int) -> str:
    """Return much."""
    return text * times


@pytest.fixture(autouse=True)
def _afresh(database: str, rung: list[tuple[int, int]]) -> None:
    ran.clear()
    may_end.clear()


def message(ids: Sequence[int]) -> list[tuple[int, int]]:
    return [(job_id, Job.objects.get(pk=job_id).seq) for job_id in ids]


def statuses(ids: Sequence[int]) -> list[str]:
    found = Job.objects.in_bulk(ids)
    return [found[job_id].status for job_id in ids]


def test_each_keeps_what_it_returned() -> None:
    values = [None, 1, "ü\n", [1, {"a": None}], True, 1.5, "null", {}]
    ids = brief.submit_many([{"value": value} for value in values])
    runner.perform("bundles.brief", message(ids))
    rows = [Job.objects.get(pk=job_id) for job_id in ids]
    assert [row.result for row in rows] == values
    assert {(row.status, row.attempt, row.lease_until) for row in rows} == {(Status.SUCCESS, 1, None)}
    assert all(row.finished_at is not None for row in rows)


def test_one_that_fails_is_tried_again_and_the_others_are_done() -> None:
    ids = brief.submit_many([{"value": value} for value in ("a", "fails", "b")])
    runner.perform("bundles.brief", message(ids))
    assert statuses(ids) == [Status.SUCCESS, Status.RETRY, Status.SUCCESS]
    assert Job.objects.get(pk=ids[1]).error == "RuntimeError: as told"


def test_a_result_nested_deeper_than_databases_take_fails_and_the_others_are_done() -> None:
    ids = nested.submit_many([{"levels": levels} for levels in (0, declare.MAX_DEPTH, 31, 500, 1)])
    runner.perform("bundles.nested", message(ids))
    ended = [Status.SUCCESS, Status.SUCCESS, Status.FAILURE, Status.FAILURE, Status.SUCCESS]
    assert statuses(ids) == ended
    assert Job.objects.get(pk=ids[1]).result == levels_of(declare.MAX_DEPTH)
    assert "nested more than 30 levels" in Job.objects.get(pk=ids[2]).error


def test_arguments_as_deep_as_may_be_are_stored_and_deeper_ones_refused() -> None:
    job_id = brief.submit(value=levels_of(declare.MAX_DEPTH)).id
    assert Job.objects.get(pk=job_id).args == {"value": levels_of(declare.MAX_DEPTH)}
    for levels in (declare.MAX_DEPTH + 1, 500, 5000):
        with pytest.raises(InvalidInput, match=r"levels deep|cannot be written"):
            brief.submit(value=levels_of(levels), job_dedupe_key="once")


@pytest.mark.parametrize("text", ["x", "я", '"', "\U0001f600"])
def test_a_result_as_large_as_may_be_is_kept_and_a_larger_one_fails(text: str) -> None:
    most = (declare.MAX_RESULT - 2) // len(json.dumps(text, ensure_ascii=False).encode()[1:-1])
    ids = repeated.submit_many([{"text": text, "times": times} for times in (1, most, most + 1, 1)])
    for job_id in ids:
        runner.perform("bundles.repeated", message([job_id]))
    assert statuses(ids) == [Status.SUCCESS, Status.SUCCESS, Status.FAILURE, Status.SUCCESS]
    assert Job.objects.get(pk=ids[1]).result == text * most
    assert "keep it elsewhere" in Job.objects.get(pk=ids[2]).error


def test_results_that_are_large_together_are_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRIEF", "LONG", "PATIENCE"):
        monkeypatch.setattr(bundle, name, 10.0)
    ids = repeated.submit_many([{"text": "x", "times": 900_000} for _ in range(20)])
    runner.perform("bundles.repeated", message(ids))
    assert statuses(ids) == [Status.SUCCESS] * 20
    assert {len(Job.objects.get(pk=job_id).result) for job_id in ids} == {900_000}


def test_arguments_that_are_large_together_are_stored() -> None:
    ids = brief.submit_many([{"value": f"{number} " + '"' * 30_000} for number in range(700)])
    assert [Job.objects.get(pk=job_id).args["value"][:4] for job_id in ids[::699]] == ['0 ""', "699 "]


def test_stale_pairs_are_dropped() -> None:
    ids = brief.submit_many([{"value": value} for value in (1, 2)])
    Job.objects.filter(pk=ids[0]).update(seq=2)
    runner.perform("bundles.brief", [(ids[0], 1), (ids[1], 1), (10**9, 1)])
    assert ran == [2]
    assert statuses(ids) == [Status.QUEUED, Status.SUCCESS]


def test_a_message_heard_twice_runs_its_jobs_once() -> None:
    ids = brief.submit_many([{"value": value} for value in range(5)])
    heard = message(ids)
    runner.perform("bundles.brief", heard)
    runner.perform("bundles.brief", heard)
    assert ran == list(range(5))


def test_jobs_of_one_serial_key_run_in_order_and_not_together() -> None:
    ids = brief.submit_many([{"value": value, "job_serial_key": "chat:1"} for value in range(3)])
    assert ledger.claim_many("bundles.brief", message(ids), "me", 30.0) == []
    runner.perform("bundles.brief", message(ids))
    assert ran == [0, 1, 2]
    assert statuses(ids) == [Status.SUCCESS] * 3


def test_a_job_under_which_a_worker_died_is_not_claimed_with_others() -> None:
    ids = brief.submit_many([{"value": value} for value in range(3)])
    Job.objects.filter(pk=ids[0]).update(crashes=1)
    claims = ledger.claim_many("bundles.brief", message(ids), "me", 30.0)
    assert [held.id for held in claims] == ids[1:]


def test_what_a_long_job_keeps_waiting_is_handed_on(rung: list[tuple[int, int]]) -> None:
    ids = long.submit_many([{"value": value} for value in range(4)])
    rung.clear()
    heard = message(ids)
    handed_on = threading.Event()

    def working() -> None:
        runner.perform("bundles.long", heard)
        connections.close_all()

    worker = threading.Thread(target=working)
    worker.start()
    try:
        with heartbeat.beating(0.05, lambda: handed_on.set() if len(rung) >= 3 else None):
            assert handed_on.wait(20)
    finally:
        may_end.set()
        worker.join(20)
    assert sorted(rung) == [(job_id, 2) for job_id in ids[1:]]
    assert ran == [0]
    assert statuses(ids) == [Status.SUCCESS, *[Status.QUEUED] * 3]
    assert {row.attempt for row in Job.objects.filter(pk__in=ids[1:])} == {0}


def test_a_retry_that_was_handed_on_still_counts_its_failures() -> None:
    ids = brief.submit_many([{"value": value} for value in range(2)])
    Job.objects.filter(pk__in=ids).update(failures=1, attempt=1)
    claims = ledger.claim_many("bundles.brief", message(ids), "me", 30.0)
    bells, cancelled = leases.hand_on("me", claims)
    assert cancelled == set()
    assert [(bell.id, bell.seq) for bell in bells] == [(job_id, 2) for job_id in ids]
    assert {(row.failures, row.attempt, row.status) for row in Job.objects.all()} == {(1, 1, Status.QUEUED)}


def test_what_was_taken_over_meanwhile_is_not_finished() -> None:
    ids = brief.submit_many([{"value": value} for value in range(2)])
    claims = ledger.claim_many("bundles.brief", message(ids), "me", 30.0)
    Job.objects.filter(pk=ids[0]).update(owner="another", seq=2)
    Bundle(brief, claims, job_context.now() + 30).run()
    assert statuses(ids) == [Status.RUNNING, Status.SUCCESS]


def test_finishing_twice_after_a_lost_answer_loses_nothing() -> None:
    ids = brief.submit_many([{"value": value} for value in range(3)])
    claims = ledger.claim_many("bundles.brief", message(ids), "me", 30.0)
    ended = [(held, "x") for held in claims]
    assert ledger.finish_many("me", ended) == set()
    assert ledger.finish_many("me", ended) == set()
    assert ledger.finish_many("another", ended) == set(ids)


def test_a_message_runs_no_job_of_another_name() -> None:
    ids = long.submit_many([{"value": value} for value in (1, 2)])
    runner.perform("bundles.brief", message(ids))
    assert ran == [1, 2]
    assert {row.result for row in Job.objects.all()} == {None}


def test_what_was_cancelled_before_it_began_is_not_handed_on() -> None:
    ids = brief.submit_many([{"value": value} for value in range(2)])
    claims = ledger.claim_many("bundles.brief", message(ids), "me", 30.0)
    assert leases.ask_to_stop(ids[0], "not wanted")
    bells, cancelled = leases.hand_on("me", claims)
    assert ([bell.id for bell in bells], cancelled) == ([ids[1]], {ids[0]})
    assert leases.hand_on("me", claims) == (bells, cancelled)
    assert statuses(ids) == [Status.CANCELLED, Status.QUEUED]


def test_what_may_have_been_handed_on_is_not_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = brief.submit_many([{"value": value} for value in range(2)])
    claims = ledger.claim_many("bundles.brief", message(ids), "me", 30.0)
    bundle, hand_on = Bundle(brief, claims, job_context.now() + 30), leases.hand_on

    def unheard(*given: Any) -> Any:
        hand_on(*given)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(leases, "hand_on", unheard)
    monkeypatch.setattr("longwave.jobs.bundle.PATIENCE", 0.0)
    bundle._look_after()
    monkeypatch.setattr(leases, "hand_on", hand_on)
    bundle.run()
    assert ran == []
    assert statuses(ids) == [Status.QUEUED, Status.QUEUED]


def test_an_error_out_of_the_bundle_loses_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = brief.submit_many([{"value": value} for value in ("a", "fails", "b")])

    def broken(*_: Any) -> None:
        raise ValueError("cannot be written")

    monkeypatch.setattr(endings, "record", broken)
    with pytest.raises(ValueError, match="cannot be written"):
        runner.perform("bundles.brief", message(ids))
    assert statuses(ids) == [Status.SUCCESS, Status.RUNNING, Status.QUEUED]


def test_a_token_in_an_error_is_not_kept() -> None:
    (job_id,) = brief.submit_many([{"value": "a"}])
    held = ledger.claim(Job.objects.get(pk=job_id), 1, "me", 30.0)
    assert held is not None
    secret = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
    assert leases.fail(held, f"GET /bot123456789:{secret}/getMe", f"Traceback: bot123456789:{secret}")
    row = Job.objects.get(pk=job_id)
    assert secret not in row.error + row.traceback
