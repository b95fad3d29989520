"""What a person asks of a running campaign takes effect within a second. The provider's log is the judge."""

import time
from collections.abc import Iterator

import pytest

from tests.stacks import STACKS, Stack, stack
from tests.waiting import pass_time, until

pytestmark = [pytest.mark.chaos, pytest.mark.alone]


@pytest.fixture(scope="module", params=STACKS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(request.param, tmp_path_factory.mktemp("home")) as one:
        one.prepare(8000, 500)
        yield one


def arrivals_between(running: Stack, first: float, last: float) -> int:
    return sum(1 for at in running.telegram.arrivals() if first < at < last)


def wait_for_arrivals_after(running: Stack, moment: float) -> None:
    """Wait until the provider accepted a message later than that."""
    until(lambda: (running.telegram.stats()["last_at"] or 0) > moment, 20, running.telegram.stats)


def test_pause_resume_and_cancel_take_effect_within_a_second(running: Stack) -> None:
    campaign = running.launch()
    running.wait_sent(300)

    running.run("campaign", "pause", str(campaign))
    paused = time.time()
    pass_time(paused + 1.5)
    assert arrivals_between(running, paused + 1.0, time.time()) == 0
    assert running.show(campaign)["state"] == "paused"

    before = running.telegram.stats()["accepted"]
    running.run("campaign", "resume", str(campaign))
    running.wait_sent(before + 50, timeout=1.5)

    running.run("campaign", "cancel", str(campaign))
    cancelled = time.time()
    pass_time(cancelled + 1.5)
    assert arrivals_between(running, cancelled + 1.0, time.time()) == 0
    report = running.wait(campaign, "cancelled")
    running_out = running.verdict(campaign)
    assert report["sent"] == running_out.delivered_once
    assert running_out.delivered_twice == 0


def test_a_change_of_rate_takes_effect_within_a_second_down_and_up(running: Stack) -> None:
    campaign = running.launch()
    running.wait_sent(400)

    # Two seconds of it, and what a campaign's own rate may make good: a tenth of a second, and sends that left late.
    for rate, least, most in ((20, 30, 50), (200, 320, 460)):
        running.run("campaign", "rate", str(campaign), str(rate))
        changed = time.time()
        wait_for_arrivals_after(running, changed + 3.0)

        assert least <= arrivals_between(running, changed + 1.0, changed + 3.0) <= most
