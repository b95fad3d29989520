"""Options of a submit, and the slot made of a dedupe key."""

from datetime import datetime, timedelta
from datetime import timezone as fixed

import pytest
from django.utils import timezone
from hypothesis import example as with_example
from hypothesis import given
from hypothesis import strategies as st

from longwave.core.errors import InvalidInput
from longwave.jobs import job, submission
from longwave.jobs.models import Job, Status

EAST, WEST = fixed(timedelta(hours=5)), fixed(timedelta(hours=-5))


@job("submission.example")
def example(value: int = 0) -> None:
    """Nothing."""


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"job_serial_key": ""}, "job_serial_key"),
        ({"job_serial_key": "k" * 191}, "job_serial_key"),
        ({"job_serial_key": "a\0"}, "job_serial_key"),
        ({"job_dedupe_key": ""}, "job_dedupe_key"),
        ({"job_dedupe_key": "\ud800"}, "job_dedupe_key"),
        ({"job_dedupe_key": 7}, "job_dedupe_key"),
        ({"job_run_at": datetime(2030, 1, 1)}, "job_run_at"),  # noqa: DTZ001 - that is the mistake
        ({"job_run_at": "tomorrow"}, "job_run_at"),
        ({"job_run_at": datetime.max.replace(tzinfo=WEST)}, "job_run_at"),
        ({"job_run_at": datetime.min.replace(tzinfo=EAST)}, "job_run_at"),
        ({"job_queue": "emial"}, "job_queue"),
        ({"job_queue": "email."}, "job_queue"),
        ({"job_queue": "email.EU"}, "job_queue"),
        ({"job_queue": "email.eu "}, "job_queue"),
        ({"job_queue": "email.a\0"}, "job_queue"),
        ({"job_queue": "email.\ud800"}, "job_queue"),
    ],
)
def test_an_option_that_is_wrong_is_named_and_nothing_is_inserted(
    sqlite: str, options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        example.submit(**options)
    assert [problem.field for problem in caught.value.problems] == [field]
    assert Job.objects.count() == 0


def test_a_moment_that_has_passed_is_now(sqlite: str) -> None:
    handle = example.submit(job_run_at=timezone.now() - timedelta(days=1))
    assert Job.objects.get(pk=handle.id).status == Status.QUEUED


def test_a_region_is_a_queue(sqlite: str) -> None:
    handle = example.submit(job_queue="email.eu")
    assert Job.objects.get(pk=handle.id).queue == "email.eu"


@given(st.text(min_size=1), st.text(min_size=1))
@with_example("key", "Key")
@with_example("key", "key ")
@with_example("k" * 80 + "a", "k" * 80 + "b")
def test_different_dedupe_keys_have_slots_that_no_collation_confuses(one: str, other: str) -> None:
    first, second = (submission._dedupe_slot("room.job", key) for key in (one, other))
    assert first is not None
    assert second is not None
    assert (first.casefold().strip() == second.casefold().strip()) == (one == other)
    assert len(first) <= 190
