"""Faults of the provider that stop nothing: they are tried again, or named."""

import json
from collections.abc import Iterator

import pytest

from tests.stacks import Stack, stack

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack("sqlite+embedded", tmp_path_factory.mktemp("home"), workers=1) as one:
        one.prepare(1500, 500)
        yield one


def test_passing_faults_are_tried_again(running: Stack) -> None:
    running.telegram.fault("error", status=502, count=20)

    campaign = running.launch()
    report = running.wait(campaign)

    verdict = running.verdict(campaign)
    assert (verdict.delivered_once, verdict.delivered_twice, verdict.lost) == (1500, 0, 0)
    assert report["failed"] == 0


def test_an_answer_that_never_came_is_unknown_until_somebody_decides(running: Stack) -> None:
    running.telegram.fault("drop_after", count=7)

    campaign = running.launch()
    report = running.wait(campaign)
    assert (report["unknown"], report["sent"]) == (7, 1493)

    running.run("campaign", "resolve", str(campaign), "skip")
    report = running.show(campaign)
    assert (report["unknown"], report["skipped"]) == (0, 7)
    assert running.verdict(campaign).delivered_twice == 0


def test_a_local_file_is_uploaded_once(running: Stack) -> None:
    photo = running.home / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff\xe0" + bytes(2000))
    content = running.home / "content.json"
    content.write_text(
        json.dumps({"kind": "photo", "photo": {"path": str(photo)}, "caption": "Hi {{ name }}"})
    )

    campaign = running.launch("--content", str(content))
    running.wait_sent(20)
    photo.unlink()
    running.wait(campaign)

    assert running.verdict(campaign).delivered_once == 1500
