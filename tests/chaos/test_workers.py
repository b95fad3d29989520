"""What a worker promises while it sends: the pace, its memory, and how it stops."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.stacks import STACKS, Stack, stack, until

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("kind", STACKS)
def test_at_thirty_a_second_no_second_holds_more(kind: str, home: Path) -> None:
    with stack(kind, home, workers=2, rate=30) as running:
        campaign = running.broadcast(300, rate=30)
        running.wait(campaign)
        verdict = running.verdict(campaign, 300)

    print(f"mean {verdict.mean_rate}/s, highest second {verdict.peak_second}")
    assert verdict.peak_second <= 30
    assert verdict.caused_429 == 0
    assert verdict.delivered_once == 300
    assert verdict.mean_rate >= 29.4


@pytest.mark.parametrize("kind", STACKS)
def test_a_stopping_worker_hands_over_within_two_seconds(kind: str, home: Path) -> None:
    with stack(kind, home, workers=1) as running:
        campaign = running.broadcast(3000, rate=300)
        running.wait_sent(300)

        # A supervisor would put a new worker in the place of one that ends: it is told to stop itself.
        for pid in [p.pid for p in running.others] if kind == "sqlite+embedded" else running.worker_pids():
            psutil.Process(pid).send_signal(signal.SIGTERM)

        until(running.has_handed_over, 2.0, lambda: running.show(campaign))
        assert running.show(campaign)["unknown"] == 0


@pytest.mark.parametrize("kind", STACKS)
def test_a_flood_is_waited_out_by_every_worker(kind: str, home: Path) -> None:
    with stack(kind, home, workers=2) as running:
        campaign = running.broadcast(1500, rate=500)
        running.wait_sent(500)

        running.telegram.fault("flood", seconds=2.0, retry_after=3)
        began = time.time()
        running.wait(campaign)

        verdict = running.verdict(campaign, 1500)
        assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (1500, 0, 0)
        quiet = [at for at in running.telegram.arrivals() if began + 1.0 < at < began + 2.9]
        assert quiet == []
        assert running.show(campaign)["held_seconds"] >= 2.5


@pytest.mark.parametrize("kind", STACKS)
def test_memory_does_not_grow_with_the_audience(kind: str, home: Path) -> None:
    with stack(kind, home, workers=1, latency=0, jitter=0) as running:
        running.wait(running.broadcast(5000, rate=0))
        before = peak_megabytes(running)
        running.import_contacts(30_000)
        running.wait(running.launch())
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
