"""What a worker promises while it sends: the pace, its memory, and how it stops."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.installations import EMBEDDED
from tests.stacks import STACKS, Stack, stack
from tests.waiting import until

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module", params=STACKS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(request.param, tmp_path_factory.mktemp("home")) as one:
        yield one


def test_memory_does_not_grow_with_the_audience(running: Stack) -> None:
    """The first: before it, the workers have sent nothing."""
    running.wait(running.broadcast(5000))
    before = peak_megabytes(running)
    running.wait(running.broadcast(30_000))
    after = peak_megabytes(running)

    print(f"{before:.1f} MB, then {after:.1f} MB")
    assert after < 150
    assert after - before < 8


def peak_megabytes(running: Stack) -> float:
    """The highest resident memory of a sending worker so far."""
    peaks = []
    for pid in running.worker_pids():
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return max(peaks)


@pytest.mark.alone
def test_at_thirty_a_second_no_second_holds_more(running: Stack) -> None:
    running.telegram.limits(rate=30)
    campaign = running.broadcast(300, rate=30)
    running.wait(campaign)
    verdict = running.verdict(campaign)

    print(f"mean {verdict.mean_rate}/s, highest second {verdict.peak_second}")
    assert verdict.peak_second <= 30
    assert verdict.caused_429 == 0
    assert verdict.delivered_once == 300
    assert verdict.mean_rate >= 29.4


@pytest.mark.alone
def test_a_flood_is_waited_out_by_every_worker(running: Stack) -> None:
    campaign = running.broadcast(1500, rate=500)
    running.wait_sent(500)

    running.telegram.fault("flood", seconds=2.0, retry_after=3)
    began = time.time()
    running.wait(campaign)

    verdict = running.verdict(campaign)
    assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (1500, 0, 0)
    quiet = [at for at in running.telegram.arrivals() if began + 1.0 < at < began + 2.9]
    assert quiet == []
    assert running.show(campaign)["held_seconds"] >= 2.5


def test_a_stopping_worker_hands_over_within_two_seconds(running: Stack) -> None:
    """The last: nobody sends any more after it."""
    campaign = running.broadcast(3000, rate=300)
    running.wait_sent(300)

    # A supervisor would put a new worker in the place of one that ends: it is told to stop itself.
    for pid in [p.pid for p in running.others] if running.kind == EMBEDDED else running.worker_pids():
        psutil.Process(pid).send_signal(signal.SIGTERM)

    until(running.has_handed_over, 2.0, lambda: running.show(campaign))
    assert running.show(campaign)["unknown"] == 0
