"""The judge of the storm lets nothing pass that must not happen. Told by hand what jobs have done."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from longwave.jobs.models import Job, Schedule, Status, Tick
from tests.storm import verdict

LIVING, KILLED = 1, 2
KILL = {"what": "killed", "pids": [KILLED]}


def ended(kind: str, status: Status = Status.SUCCESS, **columns: Any) -> int:
    """A row of the ledger."""
    values = {"attempt": 1, "finished_at": timezone.now(), **columns}
    return int(Job.objects.create(name=f"storm.{kind}", status=status, **values).pk)


def run(job: int, pid: int = LIVING, *, is_cut: bool = False, **facts: Any) -> list[dict[str, Any]]:
    """What a run tells: that it begins, and that it ends unless it was cut off."""
    about = {"job": job, "turn": 1, "pid": pid, **facts}
    return [{"what": word, **about} for word in (("begin",) if is_cut else ("begin", "end"))]


def serial(number: int, pid: int = LIVING, **more: Any) -> list[dict[str, Any]]:
    job = Job.objects.filter(args={"number": number}).values_list("pk", flat=True).first()
    job_id = job or ended("serial", args={"number": number}, attempt=2)
    return run(job_id, pid, key="k", number=number, **more)


def judge(*told: Any) -> None:
    records = [record for part in told for record in (part if isinstance(part, list) else [part])]
    rows = Job.objects.values_list("pk", "name")
    verdict.judge({pk: name.removeprefix("storm.") for pk, name in rows}, records)


def test_what_may_happen_passes(sqlite: str) -> None:
    plain, flaky = ended("plain"), ended("flaky", attempt=3, failures=2)
    doomed = ended("doomed", Status.FAILURE, attempt=2, failures=2)
    gave_up = {"what": "gave up", "job": doomed}
    judge(run(plain), run(flaky) * 3, run(doomed) * 2, gave_up, serial(0), serial(1))


def test_a_run_may_be_repeated_after_a_kill_only(sqlite: str) -> None:
    plain = ended("plain", attempt=2)
    judge(run(plain, KILLED, is_cut=True), KILL, run(plain))
    with pytest.raises(AssertionError, match="nobody was killed"):
        judge(run(plain), run(plain))
    Job.objects.update(attempt=1)
    with pytest.raises(AssertionError):
        judge(run(plain, KILLED), KILL, run(plain))


def test_a_kill_takes_a_try_begun_or_not(sqlite: str) -> None:
    flaky = ended("flaky", attempt=3, failures=1)
    judge(run(flaky, KILLED, is_cut=True), KILL, run(flaky) * 2)
    judge(KILL, run(flaky) * 2)
    Job.objects.update(attempt=2)
    with pytest.raises(AssertionError, match="tried 2 times of 3"):
        judge(run(flaky) * 2)


def test_the_ledger_and_the_witness_count_the_same_ends(sqlite: str) -> None:
    doomed = ended("doomed", Status.FAILURE, attempt=2, failures=2)
    with pytest.raises(AssertionError, match="ended 2 times"):
        judge(run(doomed))
    Job.objects.update(attempt=3, failures=3)
    with pytest.raises(AssertionError, match="ended 3 times"):
        judge(run(doomed) * 3)


def test_a_job_that_did_nothing_or_is_not_there_is_found(sqlite: str) -> None:
    ended("plain")
    with pytest.raises(AssertionError, match="did something"):
        judge()
    with pytest.raises(AssertionError, match="exactly what was accepted"):
        verdict.judge({}, [])


@pytest.mark.parametrize(
    "columns", [{"status": Status.FAILURE}, {"status": Status.RUNNING}, {"serial_slot": "k"}]
)
def test_a_wrong_end_is_found(sqlite: str, columns: dict[str, Any]) -> None:
    plain = ended("plain", **columns)
    with pytest.raises(AssertionError):
        judge(run(plain))


def test_keys_are_held_to_their_order(sqlite: str) -> None:
    cut = serial(0, KILLED, is_cut=True)
    judge(cut, KILL, serial(0), serial(1))
    with pytest.raises(AssertionError, match="out of order"):
        judge(serial(1), serial(0))
    begun = serial(0, is_cut=True)
    with pytest.raises(AssertionError, match="at a time"):
        judge(begun, serial(1))


def test_stages_are_held_to_theirs(sqlite: str) -> None:
    first, second, third = (run(ended("stage"), chain="c", place=place) for place in range(3))
    judge(first, second, third)
    with pytest.raises(AssertionError, match="before the one before it"):
        judge(first, third, second)


def test_a_time_of_a_schedule_that_was_left_out_or_has_no_job_of_its_own_is_found(sqlite: str) -> None:
    second, start = timedelta(seconds=1), timezone.now()
    schedule = Schedule.objects.create(
        name="storm.tick", job="storm.tick", next_at=start + 3 * second, planned_at=start
    )
    ticks = [tick(start + number * second) for number in range(3)]
    verdict.judge_times("storm.tick", second)
    schedule.next_at = start + 4 * second
    schedule.save()
    with pytest.raises(AssertionError):
        verdict.judge_times("storm.tick", second)
    tick(start + 3 * second, job_id=ticks[2].job_id)
    with pytest.raises(AssertionError):
        verdict.judge_times("storm.tick", second)
    Tick.objects.filter(pk=ticks[1].pk).delete()
    with pytest.raises(AssertionError, match="left out"):
        verdict.judge_times("storm.tick", second)


def tick(at: datetime, job_id: int | None = None) -> Tick:
    """A time that was kept, with a job unless one is given."""
    return Tick.objects.create(schedule="storm.tick", at=at, job_id=job_id or ended("tick"))
