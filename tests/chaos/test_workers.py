"""What a worker promises while it sends: the pace, its memory, and how it stops."""

import signal
import time
from pathlib import Path

import psutil
import pytest
from django.db import connections

from longwave.campaigns.models import Delivery
from tests import databases
from tests.stacks import STACKS, Stack, stack, until

pytestmark = pytest.mark.chaos


def sending(running: Stack) -> int:
    """Rows whose request may be on its way, as the ledger says."""
    with databases.pointed_at(running.url):
        count = Delivery.objects.filter(state="sending").count()
        connections.close_all()
    return count


@pytest.mark.parametrize("kind", STACKS)
def test_at_thirty_a_second_no_second_holds_more(kind: str, home: Path) -> None:
    with stack(kind, home, workers=2, rate=30) as running:
        campaign = running.broadcast(240, rate=30)
        running.wait(campaign)
        verdict = running.verdict(campaign, 240)

    assert verdict.peak_second <= 30
    assert verdict.caused_429 == 0
    assert verdict.delivered_once == 240
    assert verdict.mean_rate >= 28


@pytest.mark.parametrize("kind", STACKS)
def test_a_stopping_worker_hands_over_within_two_seconds(kind: str, home: Path) -> None:
    with stack(kind, home, workers=1) as running:
        campaign = running.broadcast(20_000, rate=300)
        running.wait_sent(300)

        # A supervisor would put a new worker in the place of one that ends: it is told to stop itself.
        for pid in [p.pid for p in running.others] if kind == "sqlite+embedded" else running.worker_pids():
            psutil.Process(pid).send_signal(signal.SIGTERM)
        time.sleep(2.0)

        assert sending(running) == 0
        assert running.show(campaign)["unknown"] == 0


def test_a_flood_is_waited_out_by_every_worker(home: Path) -> None:
    with stack("postgresql+redis", home, workers=2) as running:
        campaign = running.broadcast(3000, rate=500)
        running.wait_sent(500)

        running.telegram.fault("flood", seconds=2.0, retry_after=3)
        began = time.time()
        running.wait(campaign)

        verdict = running.verdict(campaign, 3000)
        assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (3000, 0, 0)
        quiet = [at for at in running.telegram.arrivals() if began + 1.0 < at < began + 2.9]
        assert quiet == []
        assert running.show(campaign)["held_seconds"] >= 2.5


def test_memory_does_not_grow_with_the_audience(home: Path) -> None:
    with stack("sqlite+embedded", home, workers=1, latency=0, jitter=0) as running:
        small = running.broadcast(5000, rate=0)
        running.wait(small)
        before = peak_megabytes(running)
        running.import_contacts(60_000)
        made = running.ask("campaign", "create", "--sender", "bot", "--list", "all", "--text", "Again")
        running.run("campaign", "start", str(made["id"]))
        running.wait(made["id"])
        after = peak_megabytes(running)

    assert after < 150
    assert after - before < 15


def peak_megabytes(running: Stack) -> float:
    """The highest resident memory of a sending worker so far."""
    peaks = []
    for pid in running.worker_pids():
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return max(peaks)


def test_up_goes_on_where_it_was_killed(home: Path) -> None:
    with stack("sqlite+embedded", home, workers=2) as running:
        campaign = running.broadcast(4000, rate=800)
        running.wait_sent(800)

        supervisor = psutil.Process(running.others[0].pid)
        for process in (supervisor, *supervisor.children(recursive=True)):
            process.kill()
        running.others.pop().wait()
        running.others.append(running.start("up", "--no-web", "--senders", "2"))
        running.wait(campaign)

        verdict = running.verdict(campaign, 4000)
        assert (verdict.delivered_twice, verdict.lost) == (0, 0)
        assert verdict.unknown <= 800
        until(lambda: len(running.worker_pids()) == 2, 10, running.logs)
