"""The database goes down in the middle of a broadcast, hard, and comes back.

SQLite has no server: it dies with the processes that have its file open, which test_restarts kills.
"""

import time
from pathlib import Path

import pytest

from tests.servers import Server
from tests.stacks import Stack, stack
from tests.waiting import until

pytestmark = pytest.mark.chaos


@pytest.fixture(params=["postgresql+redis", "mariadb+rabbitmq"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def is_silent(running: Stack) -> bool:
    """Nothing has been sent for a second: whatever was claimed before is over."""
    return time.time() - float(running.telegram.stats()["last_at"]) > 1.0


def test_a_killed_database_costs_nobody_their_message_and_nobody_gets_two(
    server: Server, kind: str, home: Path
) -> None:
    with stack(kind, home, url=server.url) as running:
        campaign = running.broadcast(6000, rate=1000)
        running.wait_sent(1500)

        server.crash()
        until(lambda: is_silent(running), 10, running.telegram.stats)
        server.start()
        running.wait(campaign, timeout=120)

        verdict = running.verdict(campaign)
        assert (verdict.delivered_twice, verdict.lost) == (0, 0)
        assert verdict.unknown <= 1000
