"""The database goes down in the middle of a broadcast, hard, and comes back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import MariaDB, Postgres, Server
from tests.stacks import stack

pytestmark = pytest.mark.chaos


@pytest.fixture(params=[Postgres, MariaDB])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    started = request.param()
    yield started
    started.remove()


def test_a_killed_database_costs_nobody_their_message_and_nobody_gets_two(server: Server, home: Path) -> None:
    kind = "postgresql+redis" if isinstance(server, Postgres) else "mariadb+redis"
    with stack(kind, home, url=server.url) as running:
        campaign = running.broadcast(6000, rate=1000)
        running.wait_sent(1500)

        server.crash()
        time.sleep(2.0)
        server.start()
        running.wait(campaign, timeout=120)

        verdict = running.verdict(campaign, 6000)
        assert (verdict.delivered_twice, verdict.lost) == (0, 0)
        assert verdict.unknown <= 1000
