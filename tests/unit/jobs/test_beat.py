"""The beat's loop, on a clock of the test's own."""

import threading

import pytest
import structlog.testing
from django.db import OperationalError

from longwave.jobs import beat, beat_lease, chore_runs, chores
from longwave.jobs.models import ChoreRun


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _no_chores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "_registry", {})


def make() -> tuple[beat._Beat, Clock]:
    clock = Clock()
    return beat._Beat(threading.Event(), clock), clock


def test_each_chore_is_done_in_its_own_period(sqlite: str) -> None:
    done: list[str] = []

    @chores.chore(every=1)
    def often() -> None:
        done.append("often")

    @chores.chore(every=3)
    def seldom() -> None:
        done.append("seldom")

    one, clock = make()
    for _ in range(4):
        assert 0 < one.turn() <= beat.TICK
        clock.now += 1
    assert done == ["often", "seldom", "often", "often", "often", "seldom"]


def test_a_chore_may_wait_until_the_beat_has_run_for_a_while(sqlite: str) -> None:
    done: list[str] = []

    @chores.chore(every=3, first_after=2)
    def later() -> None:
        done.append("later")

    one, clock = make()
    ran_at: list[float] = []
    for _ in range(7):
        before = len(done)
        one.turn()
        ran_at += [clock.now - 100] * (len(done) - before)
        clock.now += 1
    assert ran_at == [2, 5]


def test_a_chore_that_raises_is_told_and_the_others_go_on(sqlite: str) -> None:
    done: list[str] = []

    @chores.chore(every=1)
    def broken() -> None:
        raise RuntimeError("no")

    @chores.chore(every=1)
    def sound() -> None:
        done.append("sound")

    one, _ = make()
    with structlog.testing.capture_logs() as logs:
        one.turn()
    assert done == ["sound"]
    assert ("chore_failed", "error") in [(line["event"], line["log_level"]) for line in logs]


def test_a_database_that_is_away_is_told_once_and_waited_for(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    @chores.chore(every=1)
    def note() -> None:
        done.append(1)

    def away(owner: str, seconds: float) -> bool:
        raise OperationalError("server closed the connection")

    one, clock = make()
    with structlog.testing.capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(beat_lease, "hold", away)
            for _ in range(3):
                one.turn()
                clock.now += 1
        assert done == []
        one.turn()
    assert done == [1]
    assert [line["event"] for line in logs] == ["database_away", "database_back", "beat_leads"]


def test_only_one_of_two_beats_works_and_the_other_takes_over(sqlite: str) -> None:
    done: list[int] = []

    @chores.chore(every=1)
    def note() -> None:
        done.append(1)

    one, _ = make()
    other, _ = make()
    one.turn()
    with structlog.testing.capture_logs() as logs:
        other.turn()
        other.turn()
    assert len(done) == 1
    assert [(line["event"], line["led_by"]) for line in logs] == [("beat_waits", one._owner)]
    one.leave()
    other.turn()
    assert len(done) == 2


def test_what_was_done_last_is_written_down_now_and_then(sqlite: str) -> None:
    @chores.chore(every=1)
    def sound() -> None:
        pass

    @chores.chore(every=1)
    def broken() -> None:
        raise RuntimeError("no")

    def written() -> dict[str, str]:
        rows = ChoreRun.objects.filter(duration_ms__gte=0)
        return {row.name.rsplit(".", 1)[1]: row.error for row in rows}

    one, clock = make()
    one.turn()
    assert written() == {"sound": "", "broken": "RuntimeError: no"}
    ChoreRun.objects.all().delete()
    clock.now += 1
    one.turn()
    assert written() == {}
    clock.now += chore_runs.WRITE_EVERY
    one.turn()
    assert set(written()) == {"sound", "broken"}
    ChoreRun.objects.all().delete()
    clock.now += 1
    one.turn()
    one.leave()
    assert set(written()) == {"sound", "broken"}


def test_the_beat_ends_when_it_is_told_to(sqlite: str) -> None:
    stop = threading.Event()

    @chores.chore(every=0.01)
    def last() -> None:
        stop.set()

    beat.run(stop)
    assert beat_lease.hold("another", 1)


def test_a_period_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        chores.chore(every=0)
