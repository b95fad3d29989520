from hypothesis import given
from hypothesis import strategies as st

from longwave.core.breaker import (
    OPENING_ERRORS,
    WINDOW,
    Tally,
    condemned_at_opening,
    failure_rate,
    verdict,
)

tallies = st.lists(
    st.integers(0, 300).flatmap(lambda total: st.builds(Tally, st.integers(0, total), st.just(total))),
    max_size=20,
)


@given(tallies)
def test_there_is_no_rate_before_the_window_is_full(newest_first: list[Tally]) -> None:
    rate = failure_rate(newest_first)

    assert (rate is None) == (sum(tally.total for tally in newest_first) < WINDOW)


@given(tallies)
def test_the_rate_is_that_of_the_latest_outcomes(newest_first: list[Tally]) -> None:
    rate = failure_rate(newest_first)

    for count in range(1, len(newest_first) + 1):
        latest = newest_first[:count]
        total = sum(tally.total for tally in latest)
        if total >= WINDOW:
            assert rate == sum(tally.failures for tally in latest) / total
            return
    assert rate is None


@given(tallies, st.floats(0.01, 1.0))
def test_it_trips_above_the_limit_and_only_there(newest_first: list[Tally], limit: float) -> None:
    rate = failure_rate(newest_first)

    assert (verdict(newest_first, limit) is not None) == (rate is not None and rate > limit)


def test_exactly_ten_percent_is_still_allowed() -> None:
    assert verdict([Tally(10, 100)], 0.10) is None
    assert verdict([Tally(11, 100)], 0.10) == 0.11


def test_old_failures_are_forgotten() -> None:
    assert verdict([Tally(0, 100), Tally(100, 100)], 0.10) is None


def test_five_equal_refusals_at_the_start_condemn_the_content() -> None:
    assert condemned_at_opening(0, {"bad entities": OPENING_ERRORS}) == "bad entities"


def test_one_success_or_a_second_text_or_fewer_refusals_do_not() -> None:
    assert condemned_at_opening(1, {"bad entities": OPENING_ERRORS}) is None
    assert condemned_at_opening(0, {"bad entities": OPENING_ERRORS, "other": 1}) is None
    assert condemned_at_opening(0, {"bad entities": OPENING_ERRORS - 1}) is None
    assert condemned_at_opening(0, {}) is None
