"""What Celery says of an outage comes out as two lines, however often it tries; of a job not known here, as one."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from celery.worker.consumer.consumer import CONNECTION_ERROR, CONNECTION_RETRY

from longwave import logs
from longwave.celery import app
from longwave.jobs import consuming


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    celery = logging.getLogger("test_consuming.celery")
    celery.addFilter(consuming._outages)
    found = io.StringIO()
    logs.configure("INFO", "json", found)
    yield found
    celery.removeFilter(consuming._outages)
    consuming._outages.__init__()  # type: ignore[misc]
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_an_outage_is_told_when_it_begins_and_when_it_ends(stream: io.StringIO) -> None:
    celery = logging.getLogger("test_consuming.celery")
    celery.info("Connected to %s", "redis://")
    for _ in range(2):
        celery.warning("%s (%r)", CONNECTION_RETRY, "network:ConnectionError")
        for attempt in range(50):
            celery.error(CONNECTION_ERROR, "redis://", OSError("refused"), f"Trying again ({attempt})")
            celery.critical("Frequent restarts detected: %r", "5 in 1s")
        celery.info("Connected to %s", "redis://")
    celery.error("Received unregistered task of type %s.", "room.work")

    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"]) for line in said] == [
        ("Connected to redis://", "info"),
        ("consumer_disconnected", "warning"),
        ("consumer_connected", "info"),
        ("consumer_disconnected", "warning"),
        ("consumer_connected", "info"),
        ("Received unregistered task of type room.work.", "error"),
    ]
    assert said[1]["why"] == "network:ConnectionError"
    assert said[2]["away_for"] >= 0


def test_a_broker_that_is_not_there_at_first_is_told_with_the_reason(stream: io.StringIO) -> None:
    celery = logging.getLogger("test_consuming.celery")
    for _ in range(3):
        celery.error(CONNECTION_ERROR, "redis://", OSError("refused"), "Trying again")
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["event"], line["why"]) == ("consumer_disconnected", "refused")


class Silent(consuming.Consumer):
    """A consumer that is nothing but its way to connect."""

    event_dispatcher = None

    def __init__(self) -> None:
        self.app = app


class Unknowing(consuming.Consumer):
    """A consumer that is nothing but what it does with a message that it has no code for."""

    connection_errors = ()

    def __init__(self) -> None:
        self._told = {}


def test_a_job_that_no_code_here_declares_is_named_once_and_is_no_traceback(stream: io.StringIO) -> None:
    worker = Unknowing()
    with app.connection_for_write("memory://") as connection:
        queue = connection.SimpleQueue("import")
        for _ in range(3):
            queue.put({}, headers={"task": "no.such", "argsrepr": "[[[39, 1]]]"})
            message = queue.get(block=False)
            worker.on_unknown_task(None, message, KeyError("no.such"))
            assert message.acknowledged
        queue.close()
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["event"], line["level"], line["job_name"]) == ("job_not_declared", "error", "no.such")
    assert (line["queue"], line["about"]) == ("import", "[[[39, 1]]]")


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR"])
def test_the_second_outage_is_told_too_whatever_is_logged(stream: io.StringIO, level: str) -> None:
    logs.configure(level, "json", stream)
    celery = logging.getLogger("test_consuming.celery")
    for _ in range(2):
        celery.error(CONNECTION_ERROR, "redis://", OSError("refused"), "Trying again")
        celery.error(CONNECTION_ERROR, "redis://", OSError("refused"), "Trying again")
        Silent().ensure_connected(app.connection_for_read("memory://"))
        celery.info("Connected to %s", "redis://")
    said = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    back = ["consumer_connected"] if level == "INFO" else []
    assert said == (["consumer_disconnected", *back]) * 2
