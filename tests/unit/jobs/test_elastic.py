"""How many children were needed lately."""

from longwave.jobs.elastic import Need


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_most_that_was_needed_is_remembered_for_a_calm_period_and_two_at_most() -> None:
    clock = Clock()
    need = Need(60.0, clock)
    clock.now += 59
    need.note(4)
    need.note(1)
    assert need.lately == 4
    clock.now += 59  # the end of the second period: what was needed in the first is not yet a calm period ago
    need.note(1)
    assert need.lately == 4
    clock.now += 2
    assert need.lately == 1


def test_nothing_is_needed_after_a_long_silence() -> None:
    clock = Clock()
    need = Need(60.0, clock)
    need.note(4)
    clock.now += 1_000
    assert need.lately == 0
    need.note(2)
    assert need.lately == 2
