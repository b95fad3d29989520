"""The page as a whole: in the formats there are, with what cannot be read left out and counted."""

import threading
from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from longwave.ops.metrics import page
from longwave.ops.metrics.figures import Figure, Part, Reading

CALM = Figure("test_calm", "A number", ("colour",))
OTHER = Figure("test_other", "Another number")


@pytest.fixture(autouse=True)
def _afresh() -> None:
    page._errors.clear()
    page._failing.clear()
    page._beside.clear()


def values(*parts: Part) -> dict[tuple[str, ...], float]:
    """(name, labels' values …) → value of every sample on the page."""
    text, _ = page.render("", parts)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def calm() -> list[Reading]:
    return [Reading(CALM, 1, ("red",)), Reading(CALM, 2, ('"b\\l\nue',))]


def broken() -> Iterator[Reading]:
    yield Reading(OTHER, 1)
    raise ValueError("cannot be read")


def test_a_part_that_cannot_be_read_is_left_out_and_counted() -> None:
    parts = Part("broken", (OTHER,), broken), Part("calm", (CALM,), calm)
    for times in (1, 2):
        found = values(*parts)
        assert found["longwave_scrape_errors_total", "broken"] == times
        assert found["longwave_scrape_errors_total", "calm"] == 0
        assert found["test_calm", "red"] == 1
        assert found["test_calm", '"b\\l\nue'] == 2
        assert ("test_other",) not in found


def test_a_database_that_is_away_is_waited_for_once() -> None:
    asked: list[str] = []

    def away(name: str) -> list[Reading]:
        asked.append(name)
        raise OperationalError("connection refused")

    found = values(Part("one", (), lambda: away("one")), Part("two", (), lambda: away("two")))
    assert asked == ["one"]
    assert found["longwave_scrape_errors_total", "two"] == 1
    assert any(name == "longwave_info" for name, *_ in found)


def test_a_slow_part_is_read_beside_the_scrape() -> None:
    may_end = threading.Event()

    def slow() -> list[Reading]:
        assert may_end.wait(20)
        return calm()

    part = Part("slow", (CALM,), slow, every=60)
    assert ("test_calm", "red") not in values(part)
    may_end.set()
    page._beside["slow"].wait()
    found = values(part)
    assert (found["test_calm", "red"], found["longwave_scrape_errors_total", "slow"]) == (1, 0)


def test_a_slow_part_that_fails_is_counted_at_every_scrape() -> None:
    part = Part("slow", (OTHER,), broken, every=60)
    values(part)
    page._beside["slow"].wait()
    assert [values(part)["longwave_scrape_errors_total", "slow"] for _ in range(2)] == [1, 2]


def test_the_web_process_serves_it_in_both_formats(sqlite: str) -> None:
    plain = Client().get("/metrics")
    assert plain.status_code == 200
    assert plain["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'longwave_queue_ready_jobs{queue="default"} 0.0' in plain.content
    newer = Client().get("/metrics", HTTP_ACCEPT="application/openmetrics-text; version=1.0.0")
    assert newer["Content-Type"].startswith("application/openmetrics-text")
    assert newer.content.endswith(b"# EOF\n")
