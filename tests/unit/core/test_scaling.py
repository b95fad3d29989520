"""Scaling: the decision by itself, and simulations of what a day brings."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.core.scaling import Decision, Limits, Load, Memory, decide

LIMITS = Limits(minimum=1, maximum=8, target_wait=30, calm=180)


def look(load: Load, *, current: int = 1, limits: Limits = LIMITS, now: float = 1000.0) -> Decision:
    return decide(load, limits, Memory.begin(current, now), now)


def idle(concurrency: int = 2) -> Load:
    return Load(concurrency)


# --- one look ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Load(2), 1),
        (Load(2, running=2), 1),
        (Load(2, running=3), 2),
        (Load(2, running=2, ready=30, run_seconds=1), 2),  # one place more for 30 s of work
        (Load(2, running=2, ready=1, run_seconds=0.01), 1),  # a hundredth of a second is no reason
        (Load(4, ready=240, run_seconds=1), 2),
        (Load(10, running=11), 2),
        (Load(20, running=11, ready=4, run_seconds=30), 1),
    ],
)
def test_what_runs_takes_a_place_each_and_what_is_ready_what_its_wait_allows(
    load: Load, expected: int
) -> None:
    assert look(load).desired == expected


def test_a_job_takes_one_place_however_long_it_runs() -> None:
    reason = look(Load(2, ready=3, run_seconds=3600)).reason
    assert reason == "3 ready of 60 min each need 2 workers to begin within 30 s"


def test_the_reason_tells_the_sum() -> None:
    seen = look(Load(2, running=2, ready=60, run_seconds=1))
    assert seen.reason == "2 running and 60 ready of 1 s each need 2 workers to begin within 30 s"
    assert look(idle()).reason == "nothing runs or waits; 1 is the minimum"


def test_many_more_come_by_doubling_and_never_more_than_the_maximum() -> None:
    load, memory, seen = Load(2, ready=10_000, run_seconds=1), Memory.begin(1, 0.0), []
    for now in range(5, 30, 5):
        decision = decide(load, LIMITS, memory, now)
        memory = decision.memory
        seen.append(decision.desired)
    assert seen == [2, 4, 8, 8, 8]
    assert decision.reason.endswith("8 is the maximum")


def test_a_job_that_waits_too_long_brings_one_more_only_while_all_are_busy() -> None:
    late = Load(2, ready=1, running=4, run_seconds=0.1, oldest_wait=45)
    assert look(late, current=2).desired == 3
    assert "has waited 45 s, more than 30 s: one more" in look(late, current=2).reason
    # A worker that has nothing to do could take it: there is something else wrong, which more would not mend.
    assert look(Load(2, ready=1, running=2, run_seconds=0.1, oldest_wait=45), current=2).desired == 2


def test_none_at_all_become_one_for_whatever_is_ready() -> None:
    off = Limits(minimum=0, maximum=4)
    assert look(Load(2, ready=1, run_seconds=0.001), current=0, limits=off).desired == 1
    assert look(idle(), current=0, limits=off).desired == 0


def test_work_that_waits_for_a_rate_is_named_and_brings_nobody() -> None:
    seen = look(Load(2, running=2, limited=5_000))
    assert seen.desired == 1
    assert "5,000 jobs more wait for a sender's rate, which workers do not raise" in seen.reason


def test_fewer_only_after_a_calm_period_and_step_by_step() -> None:
    memory, changes = Memory.begin(8, 0.0), []
    for now in range(5, 700, 5):
        decision = decide(idle(), LIMITS, memory, now)
        if decision.desired != memory.desired:
            changes.append((now, decision.desired))
        memory = decision.memory
    assert [number for _, number in changes] == [6, 5, 4, 3, 2, 1]
    assert changes[0][0] == 180
    assert all(later - earlier == 45 for (earlier, _), (later, _) in pairwise(changes))


def test_one_short_need_in_a_calm_period_begins_it_anew() -> None:
    memory = Memory.begin(4, 0.0)
    for now in range(5, 300, 5):
        load = Load(2, running=8) if now == 150 else idle()
        memory = decide(load, LIMITS, memory, now).memory
        assert memory.desired == 4, now
    assert decide(idle(), LIMITS, memory, 331).desired == 3


def test_a_maximum_that_was_lowered_counts_at_once() -> None:
    assert look(Load(2, running=16), current=8, limits=Limits(1, 3)).desired == 3


@given(
    loads=st.lists(
        st.builds(
            Load,
            concurrency=st.just(3),
            ready=st.integers(0, 5_000),
            running=st.integers(0, 30),
            oldest_wait=st.floats(0, 500),
            run_seconds=st.floats(0, 100),
        ),
        min_size=1,
    )
)
def test_whatever_comes_it_stays_in_its_limits_and_never_takes_a_place_that_is_used(
    loads: list[Load],
) -> None:
    limits, memory = Limits(1, 10), Memory.begin(1, 0.0)
    for tick, load in enumerate(loads):
        decision = decide(load, limits, memory, tick * 5.0)
        assert limits.minimum <= decision.desired <= min(limits.maximum, 2 * memory.desired)
        assert decision.desired >= min(math.ceil(load.running / 3), memory.desired)
        assert memory.desired - decision.desired <= max(1, memory.desired // 4)
        assert decision.reason
        memory = decision.memory


# --- simulations ------------------------------------------------------------------------------------------------------

LOOK_EVERY, STARTS_IN = 5, 3
"""Seconds between looks, and until a worker that was started works."""


@dataclass
class Day:
    """A group with jobs of one second each, second by second.

    arrivals: jobs that come in this second. rate: jobs a second that their sender allows, None for any number.
    """

    arrivals: Callable[[int], float]
    limits: Limits = LIMITS
    concurrency: int = 2
    rate: int | None = None
    is_paused: bool = False
    scales: bool = True
    waiting: list[int] = field(default_factory=list)
    desired: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)
    done: int = 0
    cleared_at: int = 0

    def run(self, seconds: int) -> "Day":
        memory, workers, owed = Memory.begin(self.limits.minimum, 0.0), [0] * self.limits.minimum, 0.0
        for now in range(seconds):
            owed += self.arrivals(now)
            self.waiting += [now] * int(owed)
            owed -= int(owed)
            running = self._work(now, [began for began in workers if began <= now])
            if now % LOOK_EVERY == 0 and self.scales:
                decision = decide(self._load(now, running), self.limits, memory, now)
                memory = decision.memory
                workers = workers[: memory.desired]
                workers += [now + STARTS_IN] * (memory.desired - len(workers))
            self.desired.append(memory.desired)
            if self.waiting or running:
                self.cleared_at = now
        return self

    def _work(self, now: int, working: list[int]) -> int:
        places = 0 if self.is_paused else self.concurrency * len(working)
        begun = self.waiting[: min(places, places if self.rate is None else self.rate)]
        del self.waiting[: len(begun)]
        self.waits += [now - since for since in begun]
        self.done += len(begun)
        return len(begun)

    def _load(self, now: int, running: int) -> Load:
        if self.is_paused or self.rate is not None:
            left_out = len(self.waiting) if self.rate is not None else 0
            return Load(self.concurrency, running=running, limited=left_out)
        oldest = now - self.waiting[0] if self.waiting else 0
        return Load(self.concurrency, len(self.waiting), running, oldest, 1.0)

    @property
    def changes(self) -> int:
        return sum(before != after for before, after in pairwise(self.desired))


def spike(now: int) -> float:
    return 2_000 if now == 60 else 0


def test_a_spike_clears_three_times_faster_than_with_the_fewest_and_they_are_the_fewest_again() -> None:
    scaled, fixed = Day(spike).run(1_500), Day(spike, scales=False).run(1_500)
    assert scaled.done == fixed.done == 2_000
    assert (fixed.cleared_at - 60) / (scaled.cleared_at - 60) >= 3
    assert max(scaled.desired) == LIMITS.maximum
    assert scaled.desired[-1] == LIMITS.minimum


def test_a_ramp_is_followed_so_that_nobody_waits_longer_than_promised() -> None:
    day = Day(lambda now: min(now / 100, 14)).run(2_400)
    assert max(day.waits) <= LIMITS.target_wait
    assert max(day.desired) in (7, 8)
    assert all(after >= before for before, after in pairwise(day.desired))


def test_at_night_the_fewest_are_left_and_the_morning_does_not_wait_for_them() -> None:
    def arrivals(now: int) -> float:
        return 0.02 if 1_000 <= now < 3_000 else 9

    day = Day(arrivals).run(4_000)
    assert max(day.desired[:1_000]) >= 5
    assert set(day.desired[2_000:2_900]) == {1}
    assert max(day.desired[3_000:]) >= 5
    assert max(day.waits) <= LIMITS.target_wait


def test_a_throttled_sender_brings_nobody() -> None:
    day = Day(spike, rate=1).run(1_500)
    assert set(day.desired) == {1}
    assert day.waiting


def test_a_paused_queue_brings_nobody() -> None:
    assert set(Day(spike, is_paused=True).run(600).desired) == {1}


def test_load_that_comes_and_goes_does_not_start_and_stop_workers_all_the_time() -> None:
    day = Day(lambda now: 12 if now // 30 % 2 else 0).run(3_600)
    assert max(day.waits) <= LIMITS.target_wait
    assert day.changes <= 8


def test_from_none_to_as_many_as_needed_and_back_to_none() -> None:
    day = Day(spike, limits=Limits(0, 8)).run(1_500)
    assert (day.desired[0], max(day.desired), day.desired[-1]) == (0, 8, 0)
    assert day.done == 2_000
