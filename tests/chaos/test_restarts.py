"""Everything dies at once, kill -9, and starts again."""

from pathlib import Path

import pytest

from tests.stacks import STACKS, stack
from tests.waiting import until

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("kind", STACKS)
def test_killed_before_anybody_took_it_and_again_midway_it_goes_on_where_it_was(
    kind: str, home: Path
) -> None:
    with stack(kind, home, workers=2) as running:
        campaign = running.draft(3000, rate=800)
        running.stop_workers()
        running.run("campaign", "start", str(campaign))
        running.kill_everything()
        assert running.telegram.stats()["accepted"] == 0

        running.start_again()
        running.wait_sent(800)
        running.kill_everything()

        running.start_again()
        running.wait(campaign)
        verdict = running.verdict(campaign)
        assert (verdict.delivered_twice, verdict.lost) == (0, 0)
        assert verdict.unknown <= 800
        until(lambda: len(running.worker_pids()) == 2, 10, running.logs)
