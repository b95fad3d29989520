"""When a job is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.core.errors import Conflict, InvalidInput, LongwaveError, NotFound, Problem
from longwave.jobs import job, retrying


@job("retrying.example", retries=4, backoff=(10, 60))
def example() -> None:
    """Nothing."""


def test_pauses_follow_the_declaration_and_the_last_one_repeats() -> None:
    error = RuntimeError()
    assert [retrying.pause(example, failures, error, 0.5) for failures in range(5)] == [10, 60, 60, 60, None]


@pytest.mark.parametrize("error", [InvalidInput(Problem("a", 1, "b")), NotFound("x"), Conflict("x")])
def test_what_trying_again_cannot_mend_is_given_up_at_once(error: Exception) -> None:
    assert retrying.pause(example, 0, error, 0.5) is None


def test_any_other_error_of_ours_is_tried_again() -> None:
    assert retrying.pause(example, 0, LongwaveError("x"), 0.5) == 10


@given(st.integers(0, 3), st.floats(0, 1))
def test_pauses_are_spread_by_ten_percent(failures: int, chance: float) -> None:
    planned = (10, 60)[min(failures, 1)]
    pause = retrying.pause(example, failures, RuntimeError(), chance)
    assert pause is not None
    assert planned * 0.899 <= pause <= planned * 1.101


def test_errors_for_people_are_described_without_their_class() -> None:
    assert retrying.describe(NotFound("There is no such list."))[0] == "There is no such list."
    assert retrying.describe(KeyError("x"))[0] == "KeyError: 'x'"
