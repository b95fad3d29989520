"""Running the jobs of a message in a process that may be stopping, or has lost its database."""

from collections.abc import Iterator, Sequence

import pytest
from django.db import OperationalError

from longwave.jobs import broker, job, ledger, runner, stop
from longwave.jobs.models import Job, Status

ran: list[int] = []


@job("runner.example")
def example(number: int) -> None:
    """Remember; stop the worker at 2."""
    ran.append(number)
    if number == 2:
        stop.request()


class TimedOut(BaseException):
    """Some libraries have such, so that nobody catches them by mistake."""


@job("runner.exits")
def exits(how: str = "SystemExit") -> None:
    """End the process, or try to."""
    raise {"SystemExit": SystemExit(3), "TimedOut": TimedOut("3 s")}[how]


@pytest.fixture
def rung(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    ran.clear()
    pairs: list[tuple[int, int]] = []

    def publish(name: str, queue: str, messages: Sequence[Sequence[tuple[int, int]]]) -> None:
        pairs.extend(pair for message in messages for pair in message)

    monkeypatch.setattr(broker, "publish", publish)
    yield pairs
    stop.clear()


def test_a_stopping_worker_passes_on_what_it_has_not_begun(rung: list[tuple[int, int]]) -> None:
    ids = example.submit_many([{"number": number} for number in range(5)])
    rung.clear()
    runner.perform("runner.example", [(job_id, 1) for job_id in ids])
    assert ran == [0, 1, 2]
    assert rung == [(ids[3], 2), (ids[4], 2)]


def test_a_message_is_given_back_when_the_database_is_away(
    rung: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = example.submit_many([{"number": number} for number in (0, 1)])
    rung.clear()

    def away(*_: object) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(ledger, "claim_many", away)
    monkeypatch.setattr(runner, "CLAIM_PATIENCE", 0.0)
    runner.perform("runner.example", [(job_id, 1) for job_id in ids])
    assert rung == [(ids[0], 1), (ids[1], 1)]


@pytest.mark.parametrize("how", ["SystemExit", "TimedOut"])
def test_a_job_that_exits_fails_and_does_not_take_the_worker_along(
    rung: list[tuple[int, int]], how: str
) -> None:
    handle = exits.submit(how=how)
    runner.perform("runner.exits", [(handle.id, 1)])
    assert Job.objects.get(pk=handle.id).status == Status.RETRY


def test_a_job_whose_code_is_gone_stays_in_the_ledger(rung: list[tuple[int, int]]) -> None:
    orphan = Job.objects.create(name="no.such", queue="default")
    assert not runner.execute(orphan.pk, 1)
    assert Job.objects.get(pk=orphan.pk).status == Status.QUEUED


def test_the_owner_of_a_job_begins_with_its_workers_prefix(rung: list[tuple[int, int]]) -> None:
    before = runner._main_pid
    try:
        runner.is_main(4711)
        handle = exits.submit()
        runner.execute(handle.id, 1)
        assert Job.objects.get(pk=handle.id).owner.startswith(runner.owner_prefix(4711))
    finally:
        runner.is_main(before)


def test_what_a_child_claims_begins_with_its_own_prefix_and_no_other_child_has_that(
    rung: list[tuple[int, int]],
) -> None:
    prefixes = []
    for _ in range(11):  # so that one number begins like another
        prefixes.append(runner.next_child())
        handle = exits.submit()
        runner.execute(handle.id, 1)
        owner = Job.objects.get(pk=handle.id).owner
        assert [prefix for prefix in prefixes if owner.startswith(prefix)] == [prefixes[-1]]
        assert owner.startswith(runner.own_prefix())
