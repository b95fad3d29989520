"""When a worker is taken for deaf or too large, and when not."""

import threading

import psutil
import pytest

from longwave.jobs import broker, memory, watchdog
from longwave.jobs.models import Job, PausedQueue, Status
from longwave.jobs.watchdog import Seen, Watchdog, is_stuck


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen(silent=60, running=0, places=2, waiting="email"), True),
        (Seen(silent=60, running=1, places=2, waiting="email"), True),
        (Seen(silent=59, running=0, places=2, waiting="email"), False),
        (Seen(silent=900, running=2, places=2, waiting="email"), False),
        (Seen(silent=900, running=0, places=2, waiting=None), False),
    ],
)
def test_only_silence_with_work_at_hand_and_a_free_place_is_being_stuck(seen: Seen, expected: bool) -> None:
    assert is_stuck(seen, 60.0) is expected


@pytest.mark.parametrize(
    ("used", "limit", "age", "expected"),
    [(513, 512, 301, True), (512, 512, 301, False), (513, 512, 299, False), (9000, 0, 301, False)],
)
def test_a_worker_begins_anew_when_it_is_too_large_and_has_lived_a_while(
    used: float, limit: int, age: float, expected: bool
) -> None:
    assert memory.is_due(used, limit, age) is expected


class Scene:
    """A watched worker on queues, with a clock that is moved by hand, and a broker that has messages."""

    def __init__(self) -> None:
        self.time = 0.0
        self.depth: int | Exception = 1
        self.restarts: list[str] = []
        self.taken = 0
        self.dog = Watchdog(
            queues=lambda: ["import"],
            places=1,
            taken=lambda: self.taken,
            max_memory=0,
            restart=self.restarts.append,
            clock=lambda: self.time,
        )

    def count(self, queue: str) -> int:
        if isinstance(self.depth, Exception):
            raise self.depth
        return self.depth

    def looks(self, *times: float) -> list[bool]:
        answers = []
        for self.time in times:
            answers.append(self.dog.look())
        return answers


@pytest.fixture
def scene(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> Scene:
    found = Scene()
    monkeypatch.setattr(broker, "depth", found.count)
    monkeypatch.setattr(watchdog, "STUCK_AFTER", 60.0)
    return found


def waiting_job(queue: str = "import") -> Job:
    """One that was rung for an hour ago."""
    row = Job.objects.create(name="watchdog.example", queue=queue, status=Status.QUEUED)
    Job.objects.filter(pk=row.pk).update(rung_at="2020-01-01T00:00:00Z")
    return row


def test_seen_stuck_twice_in_a_row_it_begins_anew(scene: Scene) -> None:
    waiting_job()
    assert scene.looks(30, 61, 71) == [False, False, True]
    assert scene.restarts == ["consumer_stuck"]


def test_a_message_between_two_looks_clears_it(scene: Scene) -> None:
    waiting_job()
    assert scene.looks(61) == [False]
    scene.dog.hear()
    assert scene.looks(71, 81, 119, 122, 132) == [False, False, False, False, True]


def test_what_waits_for_another_reason_is_no_sign(scene: Scene) -> None:
    waiting_job("email")  # which this worker does not listen to
    assert scene.looks(61, 71, 81) == [False] * 3
    waiting_job()
    scene.depth = 0  # the broker has nothing: the sweeper rings again
    assert scene.looks(91, 101) == [False] * 2
    scene.depth = 1
    PausedQueue.objects.create(queue="import")
    assert scene.looks(111, 121) == [False] * 2
    PausedQueue.objects.all().delete()
    Job.objects.update(rung_at="2100-01-01T00:00:00Z")  # a moment ago
    assert scene.looks(131, 141) == [False] * 2


def test_a_worker_whose_places_are_taken_is_busy_not_stuck(scene: Scene) -> None:
    waiting_job()
    scene.taken = 1  # also by what the ledger has as ended: the job's subscribers may work on
    assert scene.looks(61, 71) == [False, False]


def test_a_broker_that_is_away_is_no_sign(scene: Scene) -> None:
    waiting_job()
    scene.depth = broker.BrokerAway("refused")
    assert scene.looks(61, 71, 81) == [False] * 3


def test_a_worker_that_is_too_large_begins_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "used_mb", lambda: 600.0)
    scene.dog = Watchdog(
        queues=list,
        places=1,
        taken=lambda: 1,
        max_memory=512,
        restart=scene.restarts.append,
        clock=lambda: scene.time,
    )
    assert scene.looks(299, 301) == [False, True]
    assert scene.restarts == ["memory_limit_reached"]


def test_what_a_look_or_a_restart_raises_does_not_end_the_watch(
    monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    over = threading.Event()
    answers: list[float | Exception] = [psutil.AccessDenied(), 600.0, 600.0]

    def used() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def restart(why: str) -> None:
        scene.restarts.append(why)
        if len(scene.restarts) == 1:
            raise OSError("no more files")
        over.set()

    monkeypatch.setattr(memory, "used_mb", used)
    monkeypatch.setattr(memory, "EARLIEST", 0.0)
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.01)
    Watchdog(queues=list, places=1, taken=lambda: 0, max_memory=512, restart=restart).start()
    assert over.wait(10)
    assert scene.restarts == ["memory_limit_reached"] * 2
