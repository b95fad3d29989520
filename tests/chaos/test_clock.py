"""The clock of the database's server is set by an hour in the middle of a broadcast, and back."""

from pathlib import Path

import pytest

from tests import servers
from tests.clocks import HOUR
from tests.stacks import stack

pytestmark = [pytest.mark.chaos, pytest.mark.alone]

RATE = 200


@pytest.mark.parametrize("kind", ["postgresql+redis", "mariadb+rabbitmq"])
def test_nobody_is_lost_or_sent_twice_and_no_second_holds_more(kind: str, home: Path) -> None:
    with servers.standing(kind, is_clocked=True) as server, stack(kind, home, url=server.url) as running:
        campaign = running.broadcast(2000, rate=RATE)
        for sent, ahead in ((600, HOUR), (1200, 0)):
            running.wait_sent(sent)
            server.clock.set(ahead)
        running.wait(campaign)

        verdict = running.verdict(campaign)
        print(f"mean {verdict.mean_rate}/s, highest second {verdict.peak_second}")
        assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (2000, 0, 0)
        assert verdict.peak_second <= RATE
        assert verdict.mean_rate > RATE / 2
