"""A database's clock that is set ahead or back, the same on every database: no job is taken from a living worker, and
none waits until the clock has come round again.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from longwave.jobs import beat, beat_lease, doorbells, job, pending, set_clock, sweep
from longwave.jobs.models import BeatLease, Job, Status
from longwave.jobs.set_clock import Look, Watch
from longwave.ops import liveness

HOUR = 3600.0


@job("clock.brief", lease=5, retries=2, backoff=(10, 60))
def brief() -> None:
    """Hold a lease of five seconds."""


def ahead(seconds: float) -> Any:
    return Now() + timedelta(seconds=seconds)


def stand(status: Status, **columns: Any) -> int:
    """A job that stands there."""
    job_id = brief.submit().id
    Job.objects.filter(pk=job_id).update(status=status, **columns)
    return job_id


def seconds_ahead(job_id: int, column: str) -> float:
    """How far in the future that is, by the database's clock."""
    distance = ExpressionWrapper(F(column) - Now(), output_field=DurationField())
    found = Job.objects.filter(pk=job_id).values_list(distance, flat=True).get()
    assert found is not None
    return float(found.total_seconds())


def watch_of(*offsets: float) -> Watch:
    """A watch that finds the database's clock so much ahead of its own, look by look."""
    looks = iter(Look(now, now + offset, now) for now, offset in enumerate(offsets))
    return Watch(lambda: next(looks))


def test_a_clock_set_ahead_takes_no_job_from_its_worker(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = stand(Status.RUNNING, owner="host:1:1:a", lease_until=ahead(-HOUR + 4))
    monkeypatch.setattr(set_clock, "watch", watch_of(0, HOUR, HOUR))
    set_clock.watch.mend()

    assert sweep.return_expired() == 0

    assert Job.objects.get(pk=running).status == Status.RUNNING
    assert 3 < seconds_ahead(running, "lease_until") <= 5
    Job.objects.filter(pk=running).update(lease_until=ahead(-1))
    assert sweep.return_expired() == 1, "nobody renewed it meanwhile"


def test_a_beat_that_waits_notices_too(database: str) -> None:
    running = stand(Status.RUNNING, owner="host:1:1:a", lease_until=ahead(-HOUR))
    watch = watch_of(0, HOUR)
    assert [watch.mend(), watch.mend()] == [False, True]
    assert seconds_ahead(running, "lease_until") > 3


def test_what_was_dated_before_the_clock_was_set_back_is_brought_nearer(database: str) -> None:
    watch = watch_of(HOUR, 0)
    watch.mend()
    deserted = stand(Status.RUNNING, owner="host:1:1:a", lease_until=ahead(HOUR))
    held = stand(Status.RUNNING, owner="host:1:1:b", lease_until=ahead(4))
    unheard = stand(Status.QUEUED, rung_at=ahead(HOUR))
    waits = stand(Status.RETRY, started_at=ahead(HOUR), run_at=ahead(HOUR + 20))
    failed = stand(Status.RETRY, failures=1, started_at=ahead(-9), run_at=ahead(HOUR + 10))
    asked = stand(Status.RETRY, started_at=ahead(-9), run_at=ahead(HOUR))
    planned = stand(Status.SCHEDULED, run_at=ahead(HOUR))

    assert not watch.mend()

    assert 3 < seconds_ahead(deserted, "lease_until") <= 5
    assert seconds_ahead(held, "lease_until") <= 4
    assert seconds_ahead(unheard, "rung_at") <= 0
    assert 15 < seconds_ahead(waits, "run_at") <= 20
    assert 55 < seconds_ahead(failed, "run_at") <= 66
    assert seconds_ahead(asked, "run_at") > HOUR - 60, "Again(after=3600)"
    assert seconds_ahead(planned, "run_at") > HOUR - 60


def test_bells_from_the_future_are_rung_again(database: str) -> None:
    unheard = stand(Status.QUEUED, rung_at=ahead(HOUR))
    assert doorbells.rung_before("default", sweep.UNHEARD_AFTER, 10) == []
    watch_of(HOUR).mend()  # a beat that has just started does not know what the clock was
    Job.objects.filter(pk=unheard).update(rung_at=F("rung_at") - timedelta(seconds=6))
    assert [bell.id for bell in doorbells.rung_before("default", sweep.UNHEARD_AFTER, 10)] == [unheard]


def test_a_pause_from_the_future_ends_after_its_own_length(database: str) -> None:
    waits = stand(Status.RETRY, started_at=ahead(HOUR), run_at=ahead(HOUR + 0.01))
    set_clock.take_back_from_the_future()
    Job.objects.filter(pk=waits).update(run_at=F("run_at") - timedelta(seconds=1))
    assert [bell.id for bell in pending.due(10)] == [waits]


def test_a_beat_s_lease_from_the_future_is_taken_over_and_no_sign_of_life(database: str) -> None:
    assert beat_lease.hold("dead", beat.LEASE)
    assert not beat_lease.hold("other", beat.LEASE)
    assert liveness.is_anything_running()
    BeatLease.objects.update(until=ahead(HOUR))
    assert not liveness.is_anything_running(), "what stands there was written by a beat that may be dead"
    assert beat_lease.hold("other", beat.LEASE)
    assert not beat_lease.hold("third", beat.LEASE)


def test_the_real_clocks_agree(database: str) -> None:
    watch = Watch()
    assert not any(watch.mend() for _ in range(3))
