"""How a worker's consumer bears a broker that is away, and jobs that it does not know: without many words."""

import logging
import time
from functools import partial
from typing import Any

import structlog
from celery.worker import consumer as celery_consumer
from celery.worker.consumer.consumer import CONNECTION_ERROR, CONNECTION_RETRY
from celery.worker.consumer.consumer import logger as celery_log

from longwave.jobs import stop, task_events
from longwave.jobs.draining import Draining

log = structlog.get_logger("longwave.jobs")

PAUSES = {"interval_start": 1, "interval_step": 1, "interval_max": 5}
"""Seconds between tries: the first, how much longer each is, and the longest. Celery would go up to half a minute."""

REMIND_AFTER = 60.0
"""Seconds after which a job that is not known here is named again: its message comes back every few seconds."""

THEN = "it stays queued until a worker hears of it whose LONGWAVE_MODULES has its code"


class Consumer(celery_consumer.Consumer):  # type: ignore[misc]
    """Celery's, less patient with a broker that may be back, and calm about jobs of other workers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._told: dict[str, float] = {}
        self._draining = Draining(self)

    def stop(self) -> None:
        """Hear of nothing new. The jobs that run end after this, and until then the worker answers."""
        stop.request()
        super().stop()
        self._draining.begin()

    def shutdown(self) -> None:
        """All jobs have ended."""
        self._draining.end()
        super().shutdown()

    def on_unknown_task(self, _: Any, message: Any, error: KeyError) -> None:
        """Drop the message of a job that no code here declares. The job is rung for again, for whoever does."""
        name = str(error.args[0])
        if self._told.get(name, float("-inf")) + REMIND_AFTER <= time.monotonic():
            self._told[name] = time.monotonic()
            queue, about = message.delivery_info.get("routing_key"), message.headers.get("argsrepr")
            log.error("job_not_declared", job_name=name, queue=queue, about=about, then=THEN)
        message.reject_log_error(celery_log, self.connection_errors)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes."""
        if conn is not None and self.event_dispatcher is not None:
            task_events.fall_silent(self)
        conn.ensure_connection = partial(conn.ensure_connection, **PAUSES)
        connected = super().ensure_connected(conn)
        _outages.end()
        return connected


class OneLineAnOutage(logging.Filter):
    """Of what Celery says while it tries to connect, several times a second to some brokers, only the first line.

    It becomes `consumer_disconnected`, and the end of the outage `consumer_connected`, with how long it took.
    """

    def __init__(self) -> None:
        super().__init__()
        self._since: float | None = None
        self._away_for: float | None = None

    def end(self) -> None:
        """The broker has answered. Told apart from the line about it, which not every level of logging has."""
        if self._since is not None:
            self._away_for, self._since = time.monotonic() - self._since, None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written; it may be another by then."""
        if record.msg == "Connected to %s":
            return self._tell_end(record)
        if record.msg == CONNECTION_ERROR:
            return self._begin(record, _argument(record, 1))
        if _argument(record, 0) == CONNECTION_RETRY:
            return self._begin(record, _argument(record, 1))
        return not str(record.msg).startswith("Frequent restarts detected")

    def _begin(self, record: logging.LogRecord, why: object) -> bool:
        if self._since is not None:
            return False
        self._since, self._away_for = time.monotonic(), None
        _rewrite(record, logging.WARNING, "consumer_disconnected")
        record.why = str(why)
        record.then = "it tries again until the broker answers"
        return True

    def _tell_end(self, record: logging.LogRecord) -> bool:
        self.end()
        if self._away_for is not None:
            record.away_for, self._away_for = round(self._away_for, 1), None
            _rewrite(record, logging.INFO, "consumer_connected")
        return True


_outages = OneLineAnOutage()


def _is_no_lost_answer(record: logging.LogRecord) -> bool:
    """A message that could not be acknowledged comes back, and is dropped: the ledger knows that its job has ended."""
    return not str(record.msg).startswith("Couldn't ack")


def say_outages_once() -> None:
    """Filter what Celery says about its connection. A second call does nothing."""
    loggers = [logging.getLogger(f"celery.worker.consumer.{name}") for name in ("consumer", "connection")]
    for logger in loggers:
        logger.addFilter(_outages)
    logging.getLogger("celery.worker.request").addFilter(_is_no_lost_answer)


def _argument(record: logging.LogRecord, position: int) -> object:
    arguments = record.args
    return arguments[position] if isinstance(arguments, tuple) and len(arguments) > position else None


def _rewrite(record: logging.LogRecord, level: int, event: str) -> None:
    record.name, record.msg, record.args, record.exc_info = "longwave.jobs", event, (), None
    record.levelno, record.levelname = level, logging.getLevelName(level)
