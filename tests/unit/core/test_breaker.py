from hypothesis import given
from hypothesis import strategies as st

from longwave.core.breaker import (
    OPENING_ERRORS,
    SILENCE,
    SILENT_SENDS,
    WINDOW,
    Stretch,
    Tally,
    condemned_at_opening,
    failure_rate,
    silent_for,
    verdict,
)

tallies = st.lists(
    st.integers(0, 300).flatmap(lambda total: st.builds(Tally, st.integers(0, total), st.just(total))),
    max_size=20,
)


def in_time(drawn: list[tuple[int, int, int]]) -> list[Stretch]:
    """Stretches, newest first, out of (tens of seconds to the next, faults, answers)."""
    found, at = [], 1_000_000
    for gap, faults, answers in drawn:
        found.append(Stretch(at, faults, answers))
        at -= gap * 10
    return found


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


stretches = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 30), st.integers(0, 1)), min_size=1, max_size=10
).map(in_time)


@given(stretches, st.floats(0, 60), st.booleans())
def test_a_silence_is_long_and_has_faults_of_two_moments_and_no_answer(
    newest_first: list[Stretch], wait: float, is_proven: bool
) -> None:
    now = newest_first[0].at + 10 + wait
    seconds = silent_for(newest_first, now, is_proven=is_proven)

    answered = max((s.at for s in newest_first if s.answers), default=-1)
    faulty = [s for s in newest_first if s.at > answered and s.faults]
    is_silent = (
        len(faulty) >= 2
        and sum(s.faults for s in faulty) >= (SILENT_SENDS if is_proven else OPENING_ERRORS)
        and now - min(s.at for s in faulty) >= SILENCE
    )
    assert (seconds is not None) == is_silent
    assert seconds is None or seconds == now - min(s.at for s in faulty)


@given(stretches, st.floats(0, 1000))
def test_who_is_just_asked_the_same_a_little_later_is_still_silent(
    newest_first: list[Stretch], more: float
) -> None:
    now = newest_first[0].at + 10
    if silent_for(newest_first, now, is_proven=False) is not None:
        assert silent_for(newest_first, now + more, is_proven=False) is not None


def test_an_answer_ends_a_silence() -> None:
    silent = [Stretch(1000, 30, 0), Stretch(990, 30, 0), Stretch(980, 30, 0)]

    assert silent_for(silent, 1010, is_proven=True) == 30
    assert silent_for([Stretch(1000, 30, 1), *silent[1:]], 1010, is_proven=True) is None
