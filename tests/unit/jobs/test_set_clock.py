"""Whether a clock was set, from what was seen of it: never claimed where asking took too long to be sure."""

import pytest

from longwave.jobs.set_clock import UNSURE, Look, Watch, step


@pytest.mark.parametrize(
    ("last", "this", "expected"),
    [
        (Look(0, 1000, 0), Look(10, 1010, 10), 0.0),
        (Look(0, 1000, 0), Look(10, 4610, 10), 3600.0),
        (Look(0, 1000, 0), Look(10, -2590, 10), -3600.0),
        (Look(0, 1000, 0), Look(10, 1010.9, 10), 0.0),  # a clock that is made to go faster
        (Look(0, 1000, 5), Look(10, 1006, 10), 0.0),  # asked at 0 or at 5, or in between
        (Look(0, 1000, 0), Look(10, 1020, 20), 0.0),
        (Look(0, 1000, 0.1), Look(10, 1012, 10.2), pytest.approx(1.8)),
    ],
)
def test_a_step_is_claimed_where_it_is_sure(last: Look, this: Look, expected: float) -> None:
    assert step(last, this) == expected


def test_an_answer_that_took_long_may_hide_a_step_and_the_next_one_shows_it(sqlite: str) -> None:
    looks = iter([Look(0, 1000, 0), Look(1, 4603, 3), Look(4, 4604, 4), Look(5, 4605, 5)])
    watch = Watch(lambda: next(looks))
    assert [watch.mend() for _ in range(4)] == [False, True, True, False]


def test_answers_that_always_take_long_put_nothing_down_to_the_clock_for_ever(sqlite: str) -> None:
    looks = iter(Look(2 * n, 1000 + 2 * n, 2 * n + 1) for n in range(20))
    watch = Watch(lambda: next(looks))
    assert [watch.mend() for _ in range(UNSURE + 2)] == [True] * UNSURE + [False] * 2
