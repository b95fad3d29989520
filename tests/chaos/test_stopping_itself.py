"""A campaign stops itself for a reason that a person can read, and tells the admin."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import Stack, stack, until

pytestmark = pytest.mark.chaos
ADMIN = 777_000_777


@pytest.fixture
def running(home: Path) -> Iterator[Stack]:
    with stack("sqlite+embedded", home) as started:
        yield started


def told(running: Stack) -> str:
    """What the admin chat has been told."""
    rows = until(lambda: running.telegram.log(chat_id=ADMIN), 10, running.telegram.stats)
    return " ".join(row["text"] for row in rows)


def test_bad_content_costs_a_handful_of_errors_and_pauses(running: Stack) -> None:
    running.telegram.fault("reject", description="MESSAGE_TOO_STRANGE", count=5)
    campaign = running.draft(1000, rate=500, admin_chat=str(ADMIN))
    running.run("campaign", "start", str(campaign))

    report = running.wait(campaign, "paused")

    assert "MESSAGE_TOO_STRANGE" in report["reason"]
    assert report["rejected"] == 5
    assert "MESSAGE_TOO_STRANGE" in told(running)


def test_a_revoked_token_stops_the_sender_at_once(running: Stack) -> None:
    campaign = running.broadcast(5000, rate=500)
    running.wait_sent(500)

    running.telegram.fault("revoke")
    report = running.wait(campaign, "paused")

    assert "refused" in report["reason"]
    assert report["rejected"] == report["failed"] == report["gone"] == 0
    assert running.ask("sender", "show", "bot")["status"] == "broken"

    running.telegram.clear_faults()
    running.run("sender", "enable", "bot")
    running.run("campaign", "resume", str(campaign))
    running.wait(campaign)
    verdict = running.verdict(campaign, 5000)
    assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (5000, 0, 0)


def test_a_failure_rate_over_the_limit_pauses_with_the_commonest_errors(running: Stack) -> None:
    campaign = running.broadcast(5000, rate=500)
    running.wait_sent(300)

    running.telegram.fault("reject", description="CHAT_RESTRICTED", probability=0.5)
    report = running.wait(campaign, "paused")

    assert "CHAT_RESTRICTED" in report["reason"]
    assert "limit 10%" in report["reason"]
    assert report["sent"] < 2500


def test_blocked_users_are_no_failure(running: Stack) -> None:
    running.telegram.users(blocked=0.6)

    campaign = running.broadcast(2000, rate=0)
    report = running.wait(campaign)

    assert report["state"] == "completed"
    assert report["gone"] > 1000


def test_passing_faults_are_tried_again(running: Stack) -> None:
    running.telegram.fault("error", status=502, count=20)

    campaign = running.broadcast(1000, rate=500)
    report = running.wait(campaign)

    verdict = running.verdict(campaign, 1000)
    assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (1000, 0, 0)
    assert report["failed"] == 0


def test_an_answer_that_never_came_is_unknown_until_somebody_decides(running: Stack) -> None:
    running.telegram.fault("drop_after", count=7)

    campaign = running.broadcast(500, rate=500)
    report = running.wait(campaign)
    assert (report["unknown"], report["sent"]) == (7, 493)

    running.run("campaign", "resolve", str(campaign), "skip")
    report = running.show(campaign)
    assert (report["unknown"], report["skipped"]) == (0, 7)
    assert running.verdict(campaign, 500).delivered_twice == 0


def test_a_local_file_is_uploaded_once(running: Stack) -> None:
    photo = running.home / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff\xe0" + bytes(2000))
    content = running.home / "content.json"
    content.write_text(
        json.dumps({"kind": "photo", "photo": {"path": str(photo)}, "caption": "Hi {{ name }}"})
    )

    campaign = running.broadcast(300, "--content", str(content), rate=200)
    running.wait(campaign)

    assert running.verdict(campaign, 300).delivered_once == 300
    assert len({row.get("file_id") for row in running.telegram.log(limit=300)}) <= 2
