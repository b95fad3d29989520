"""The page on failures says the numbers that the code has."""

from pathlib import Path

import pytest

from longwave.jobs import beat, bundle, consuming, declare, endings, runner, stop, sweep
from longwave.ops import supervisor

PAGE = (Path(__file__).parents[3] / "docs" / "failures.md").read_text(encoding="utf-8")


@declare.job("page.usual")
def usual() -> None:
    """Declared without options."""


@pytest.mark.parametrize(
    "sentence",
    [
        f"the lease: {usual.lease:g} s, unless the job declares another",
        f"the last {bundle.PATIENCE:g} s",
        f"another after {supervisor.BACKOFF[0]:g} s ({supervisor.BACKOFF[1]:g} s if it dies again and again)",
        f"look for it every {consuming.PAUSES['interval_max']:g} s, at first more often",
        f"within the grace ({stop.GRACE:g} s)",
        f"{beat.LEASE:g} s and a second, when another beat runs",
        f"poison after {usual.max_crashes} dead workers",
        f"{sweep.UNHEARD_AFTER:g} s when the queue is empty, else up to {sweep.INSIST_AFTER / 60:g} minutes",
        f"up to {endings.RECORD_PATIENCE / 60:g} minutes, and claims up to {runner.CLAIM_PATIENCE:g} s",
    ],
)
def test_the_page_on_failures_has_the_number_of_the_code(sentence: str) -> None:
    assert sentence in PAGE


def test_every_test_that_the_page_names_is_there() -> None:
    links = {part.split(")")[0] for part in PAGE.split("](../")[1:]}
    assert len(links) > 8
    assert [link for link in links if not (Path(__file__).parents[3] / link).exists()] == []
