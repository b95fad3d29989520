"""A campaign stops itself for a reason that a person can read, and tells the admin."""

from collections.abc import Iterator

import pytest

from tests.stacks import STACKS, Stack, stack
from tests.waiting import until

pytestmark = pytest.mark.chaos
ADMIN = 777_000_777


@pytest.fixture(scope="module", params=STACKS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(request.param, tmp_path_factory.mktemp("home"), workers=1) as one:
        one.prepare(1500, 500, admin_chat=str(ADMIN))
        yield one


def told(running: Stack) -> str:
    """What the admin chat has been told."""
    rows = until(lambda: running.telegram.log(chat_id=ADMIN), 10, running.telegram.stats)
    return " ".join(row["text"] for row in rows)


def test_bad_content_costs_a_handful_of_errors_and_pauses(running: Stack) -> None:
    running.telegram.fault("reject", description="MESSAGE_TOO_STRANGE", count=5)
    campaign = running.launch()

    report = running.wait(campaign, "paused")

    assert "MESSAGE_TOO_STRANGE" in report["reason"]
    assert report["rejected"] == 5
    assert "MESSAGE_TOO_STRANGE" in told(running)


def test_a_revoked_token_stops_the_sender_at_once(running: Stack) -> None:
    campaign = running.launch()
    running.wait_sent(300)

    running.telegram.fault("revoke")
    report = running.wait(campaign, "paused")

    assert "refused" in report["reason"]
    assert report["rejected"] == report["failed"] == report["gone"] == 0
    assert running.ask("sender", "show", running.name)["status"] == "broken"

    running.telegram.clear_faults()
    running.run("sender", "enable", running.name)
    running.run("campaign", "resume", str(campaign))
    running.wait(campaign)
    verdict = running.verdict(campaign)
    assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (1500, 0, 0)


def test_a_failure_rate_over_the_limit_pauses_with_the_commonest_errors(running: Stack) -> None:
    campaign = running.launch()
    running.wait_sent(300)

    running.telegram.fault("reject", description="CHAT_RESTRICTED", probability=0.5)
    report = running.wait(campaign, "paused")

    assert "CHAT_RESTRICTED" in report["reason"]
    assert "limit 10%" in report["reason"]
    assert report["sent"] < 1200
