"""What an operator does with queues and failed jobs, on every database."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from longwave.core.errors import Conflict, InvalidInput, NotFound
from longwave.jobs import Again, broker, deserted, explaining, failed, job, ledger, pausing, runner, sweep
from longwave.jobs.failed import Wanted
from longwave.jobs.models import Job, Status

ran: list[int] = []


@job("queues.work", retries=0)
def work(number: int) -> None:
    """Remember; fail below zero."""
    ran.append(number)
    if number < 0:
        raise RuntimeError(f"number {number} is too small")


@job("queues.patient")
def patient() -> Again:
    """Not now."""
    return Again(after=60, why="the other side asked for it")


@pytest.fixture(autouse=True)
def _afresh(database: str, monkeypatch: pytest.MonkeyPatch, rung: list[tuple[int, int]]) -> None:
    ran.clear()
    monkeypatch.setattr(broker, "depth", lambda queue: 0)


def failures(*numbers: int) -> list[int]:
    ids = [work.submit(number=number).id for number in numbers]
    for job_id in ids:
        runner.execute(job_id, 1)
    return ids


def why(job_id: int, listeners: explaining.Listeners | None = None) -> str:
    return " ".join(explaining.why(Job.objects.get(pk=job_id), listeners or {"default": ["w"]}))


def test_nothing_of_a_paused_queue_is_begun_and_resuming_rings_for_all_of_it(
    rung: list[tuple[int, int]],
) -> None:
    assert pausing.pause("default")
    assert not pausing.pause("default")
    ids = work.submit_many([{"number": number} for number in range(3)])
    runner.perform("queues.work", [(job_id, 1) for job_id in ids])
    assert not runner.execute(ids[0], 1)
    assert ran == []

    rung.clear()
    assert pausing.resume("default") == 3
    assert sorted(rung) == [(job_id, 1) for job_id in ids]
    runner.perform("queues.work", sorted(rung))
    assert ran == [0, 1, 2]
    assert pausing.resume("default") is None


def test_the_sweeper_does_not_ring_for_a_paused_queue(rung: list[tuple[int, int]]) -> None:
    work.submit(number=1)
    Job.objects.update(rung_at=timezone.now() - timedelta(minutes=1))
    pausing.pause("default")
    rung.clear()
    assert sweep.ring_unheard() == 0
    pausing.resume("default")
    Job.objects.update(rung_at=timezone.now() - timedelta(minutes=1))
    assert sweep.ring_unheard() == 1


def test_a_queue_that_there_is_not_cannot_be_paused() -> None:
    with pytest.raises(InvalidInput, match="must be one of"):
        pausing.pause("defualt")


def test_failed_jobs_are_found_by_queue_name_time_and_error() -> None:
    ids = failures(-1, -2)
    assert [row.pk for row in failed.find(Wanted(), 10)] == ids[::-1]
    assert failed.count(Wanted(grep="NUMBER -2")) == 1
    assert failed.count(Wanted(queue="email")) == 0
    assert failed.count(Wanted(name="queues.work")) == 2
    assert failed.count(Wanted(since=timezone.now() + timedelta(hours=1))) == 0


def test_a_failed_job_runs_again_as_if_it_were_new(rung: list[tuple[int, int]]) -> None:
    (job_id,) = failures(-1)
    rung.clear()
    assert failed.rerun(Wanted(ids=(job_id,))).queued == 1
    assert rung == [(job_id, 2)]
    row = Job.objects.get(pk=job_id)
    assert (row.status, row.failures, row.finished_at) == (Status.QUEUED, 0, None)
    Job.objects.filter(pk=job_id).update(args={"number": 5})
    runner.perform("queues.work", rung)
    row.refresh_from_db()
    assert (row.status, row.error, row.traceback) == (Status.SUCCESS, "", "")


def test_all_failed_jobs_run_again_once(rung: list[tuple[int, int]]) -> None:
    ids = failures(-1, -2, -3)
    rung.clear()
    assert failed.rerun(Wanted(grep="number")).queued == 3
    assert sorted(rung) == [(job_id, 2) for job_id in ids]
    assert failed.rerun(Wanted()).queued == 0


def test_what_runs_again_in_a_transaction_is_rung_for_after_its_commit(rung: list[tuple[int, int]]) -> None:
    (job_id,) = failures(-1)
    rung.clear()
    with transaction.atomic():
        assert failed.rerun(Wanted()).queued == 1
        assert rung == []
    assert rung == [(job_id, 2)]


def test_a_job_that_runs_again_takes_its_dedupe_key_back() -> None:
    first = work.submit(number=-1, job_dedupe_key="daily").id
    runner.execute(first, 1)
    assert failed.rerun(Wanted()) == failed.Rerun(queued=1)
    again = work.submit(number=1, job_dedupe_key="daily")
    assert (again.id, again.created) == (first, False)
    runner.execute(first, 2)
    assert Job.objects.get(pk=first).status == Status.FAILURE
    assert failed.rerun(Wanted()) == failed.Rerun(queued=1)  # it has kept the key a second time


def test_a_job_whose_dedupe_key_another_has_is_not_run_again() -> None:
    first, plain = work.submit(number=-1, job_dedupe_key="daily").id, work.submit(number=-2).id
    for job_id in (first, plain):
        runner.execute(job_id, 1)
    newer = work.submit(number=3, job_dedupe_key="daily").id
    assert newer != first
    assert failed.rerun(Wanted()) == failed.Rerun(queued=1, refused={first: newer})
    assert Job.objects.get(pk=first).status == Status.FAILURE
    runner.execute(newer, 1)
    assert failed.rerun(Wanted(ids=(first,))) == failed.Rerun(queued=1)


def test_of_two_failed_jobs_with_one_dedupe_key_one_runs_again() -> None:
    ids = []
    for number in (-1, -2):
        ids.append(work.submit(number=number, job_dedupe_key="daily").id)
        runner.execute(ids[-1], 1)
    assert failed.rerun(Wanted()) == failed.Rerun(queued=1, refused={ids[1]: ids[0]})


def test_a_job_that_killed_its_workers_keeps_its_dedupe_key() -> None:
    row = Job.objects.get(pk=work.submit(number=1, job_dedupe_key="daily").id)
    assert ledger.claim(row, 1, "host:1:2:x", 30.0) is not None
    row.refresh_from_db()
    assert deserted.poison(row, "its worker died", is_dead=True)
    assert failed.rerun(Wanted()) == failed.Rerun(queued=1)
    assert not work.submit(number=2, job_dedupe_key="daily").created


def test_more_failed_jobs_than_a_chunk_run_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed, "CHUNK", 2)
    ids = failures(-1, -2, -3, -4, -5)
    Job.objects.filter(pk__in=ids[:3]).update(dedupe_key="queues.work:same")
    assert failed.rerun(Wanted()) == failed.Rerun(queued=3, refused={ids[1]: ids[0], ids[2]: ids[0]})
    assert failed.forget(Wanted()) == 2


def test_what_has_not_failed_is_named() -> None:
    done = work.submit(number=1).id
    runner.execute(done, 1)
    with pytest.raises(Conflict, match=f"Job {done} has not failed: it is success"):
        failed.rerun(Wanted(ids=(done,)))
    with pytest.raises(NotFound, match="no job 987654"):
        failed.forget(Wanted(ids=(987654,)))


def test_forgetting_deletes_failed_jobs_only() -> None:
    ids = failures(-1, -2)
    done = work.submit(number=1).id
    runner.execute(done, 1)
    assert failed.forget(Wanted(ids=(ids[0],))) == 1
    assert failed.forget(Wanted()) == 1
    assert list(Job.objects.values_list("pk", flat=True)) == [done]


def test_why_names_what_keeps_a_job_waiting() -> None:
    first, second = (work.submit(number=number).id for number in (1, 2))
    assert why(first) == (
        "It is the next one in queue default: it begins when one of its workers has a free place (w)."
    )
    assert why(second) == "1 job in queue default was ready before it."
    assert "No worker that answered listens to queue default" in why(first, {"email": ["w"]})
    assert "The broker is away" in " ".join(explaining.why(Job.objects.get(pk=first), None))
    pausing.pause("default")
    assert f"Queue default is paused since {timezone.now():%Y-}" in why(first)


def test_why_knows_times_serial_keys_unknown_code_and_stalled_workers() -> None:
    later = work.submit(number=1, job_run_at=timezone.now() + timedelta(seconds=90)).id
    assert "It is to run in 90 s" in why(later) or "It is to run in 89 s" in why(later)
    put_off = patient.submit().id
    runner.execute(put_off, 1)
    assert ", at " in why(put_off)
    assert why(put_off).endswith(" UTC: the other side asked for it.")
    first = work.submit(number=1, job_serial_key="chat:1").id
    second = work.submit(number=2, job_serial_key="chat:1").id
    assert why(second).startswith("1 job with the serial key 'chat:1' must end first; ")
    assert f"the first of them is job {first} (queued): `longwave queue show {first}`." in why(second)
    Job.objects.filter(pk=first).update(name="no.such")
    assert "No code here declares no.such" in why(first)
    held = ledger.claim(Job.objects.get(pk=first), 1, "host:1:2:x", 30.0)
    assert held is not None
    assert why(first) == ""
    Job.objects.filter(pk=first).update(lease_until=timezone.now() - timedelta(seconds=40))
    assert "has not been heard of for 40 s" in why(first)
