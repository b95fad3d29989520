"""The promises, with real processes and real kills. The provider's log is the judge."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import STACKS, Stack, stack

pytestmark = pytest.mark.chaos


@pytest.fixture(params=STACKS)
def running(request: pytest.FixtureRequest, home: Path) -> Iterator[Stack]:
    with stack(request.param, home) as started:
        yield started


def arrivals_after(running: Stack, moment: float) -> int:
    return sum(1 for at in running.telegram.arrivals() if at > moment)


def test_everybody_gets_it_once(running: Stack) -> None:
    running.telegram.users(blocked=0.05)
    campaign = running.broadcast(3000, rate=0)

    report = running.wait(campaign)

    verdict = running.verdict(campaign, 3000)
    assert (verdict.delivered_twice, verdict.lost, verdict.unknown) == (0, 0, 0)
    assert report["sent"] == verdict.delivered_once
    assert report["gone"] == verdict.gone > 0


def test_twenty_kills_lose_nobody_and_send_nothing_twice(running: Stack) -> None:
    dice, kills, rate = random.Random(20), 20, 1000
    campaign = running.broadcast(20_000, rate=rate)
    running.wait_sent(300)

    for kill in range(kills):
        running.wait_sent(300 + kill * 500)
        running.kill_worker(dice)
    running.wait(campaign, timeout=180)

    verdict = running.verdict(campaign, 20_000)
    assert (verdict.delivered_twice, verdict.lost) == (0, 0)
    assert verdict.unknown <= kills * rate
    assert verdict.delivered_once + verdict.unknown == 20_000


def test_an_emptied_broker_loses_nothing(running: Stack) -> None:
    campaign = running.broadcast(5000, rate=1000)
    running.wait_sent(1000)

    running.empty_broker()
    running.wait_sent(3000)
    running.empty_broker()
    running.wait(campaign)

    verdict = running.verdict(campaign, 5000)
    assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (5000, 0, 0)


def test_pause_resume_and_cancel_take_effect_within_a_second(running: Stack) -> None:
    campaign = running.broadcast(20_000, rate=500)
    running.wait_sent(300)

    running.run("campaign", "pause", str(campaign))
    paused = time.time()
    time.sleep(1.5)
    assert arrivals_after(running, paused + 1.0) == 0
    assert running.show(campaign)["state"] == "paused"

    before = running.telegram.stats()["accepted"]
    running.run("campaign", "resume", str(campaign))
    running.wait_sent(before + 50, timeout=1.5)

    running.run("campaign", "cancel", str(campaign))
    cancelled = time.time()
    time.sleep(1.5)
    assert arrivals_after(running, cancelled + 1.0) == 0
    report = running.wait(campaign, "cancelled")
    running_out = running.verdict(campaign, 20_000)
    assert report["sent"] == running_out.delivered_once
    assert running_out.delivered_twice == 0


def test_a_change_of_rate_takes_effect_within_a_second(running: Stack) -> None:
    campaign = running.broadcast(20_000, rate=400)
    running.wait_sent(400)

    running.run("campaign", "rate", str(campaign), "50")
    changed = time.time()
    time.sleep(3.0)

    slow = [at for at in running.telegram.arrivals() if changed + 1.0 < at < changed + 3.0]
    assert 60 <= len(slow) <= 110
