"""This process' line to the broker: one connection, quick to give up, and one log line an outage.

The broker is a doorbell. Whatever is wrong with it, nobody who submits may fail or wait for it.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog

from longwave import config
from longwave.celery import app
from longwave.jobs import queues

T = TypeVar("T")
log = structlog.get_logger("longwave.jobs")

PATIENCE = 0.6
"""Seconds for connecting, and for each answer."""

SILENCE = 5.0
"""Seconds in which a broker that failed is not tried again."""

TRANSIENT = 1
"""AMQP's delivery mode: messages are not written to disk, as losing them loses nothing."""

_QUICK = {
    # Redis
    "socket_timeout": PATIENCE,
    "socket_connect_timeout": PATIENCE,
    # RabbitMQ
    "read_timeout": PATIENCE,
    "write_timeout": PATIENCE,
    "confirm_publish": True,
    # kombu, which would try for ever
    "max_retries": 0,
    "interval_start": 0,
    "connect_retries_timeout": PATIENCE,
}


class BrokerAway(Exception):
    """The broker cannot be reached now, or failed a moment ago."""


def how_to_start() -> str:
    """What there is to do about one that is away."""
    return (
        "start `longwave up`" if config.current().is_embedded else "start it, or correct LONGWAVE_BROKER_URL"
    )


class _Line:
    """The connection, and what is known about the broker's health. Used under its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        # Any: kombu publishes types, but hardly any of its functions have them.
        self.connection: Any = None
        self.producer: Any = None
        self.silent_until = 0.0
        self.is_down = False

    def open(self) -> Any:
        if self.connection is None:
            connection = app.connection_for_write(connect_timeout=PATIENCE, transport_options=_QUICK)
            # kombu's connect() would sleep two seconds and try once more.
            connection.ensure_connection(max_retries=0, interval_start=0)
            self.connection = connection
        return self.connection

    def close(self) -> None:
        connection, self.connection, self.producer = self.connection, None, None
        if connection is not None:
            try:
                connection.collect(socket_timeout=0.1)  # no farewell: a dead broker would not answer it
            except Exception:  # noqa: S110 - it is being thrown away because it is broken
                pass

    def failed(self, error: Exception) -> None:
        self.close()
        self.silent_until = time.monotonic() + SILENCE
        if not self.is_down:
            self.is_down = True
            log.warning("broker_away", why=str(error), then="jobs are kept, and rung when it is back")

    def worked(self) -> None:
        if self.is_down:
            self.is_down = False
            log.info("broker_back")


_line = _Line()


def _forget_after_fork() -> None:
    # A child must neither write to the parent's socket nor close it politely: a new line, the old one leaked.
    global _line
    _inherited.append(_line)
    _line = _Line()


_inherited: list[_Line] = []
os.register_at_fork(after_in_child=_forget_after_fork)


def publish(name: str, queue: str, messages: Sequence[Sequence[tuple[int, int]]]) -> None:
    """Send one message for each group of `(id, seq)` pairs. Raises BrokerAway."""
    options = {
        "queue": queue,
        "priority": queues.message_priority(queue, app.conf.broker_url),
        "delivery_mode": TRANSIENT,
        "confirm_timeout": PATIENCE,
        "retry": False,
    }

    def send(line: _Line) -> None:
        if line.producer is None:
            line.producer = app.amqp.Producer(line.open(), auto_declare=False)
        for pairs in messages:
            app.send_task(name, args=[[list(pair) for pair in pairs]], producer=line.producer, **options)

    _call(send)


def depth(queue: str) -> int:
    """How many messages wait in `queue`; 0 when there is no such queue. Raises BrokerAway."""
    return _call(lambda line: _depth(line.open(), queue))


def put(queue: str) -> None:
    """Leave one message in a queue that nobody consumes. Raises BrokerAway."""

    def leave(line: _Line) -> None:
        channel = line.open().channel()
        try:
            channel.queue_declare(queue=queue, durable=True, auto_delete=False)
            app.amqp.Producer(channel, auto_declare=False).publish(
                "",
                exchange="",
                routing_key=queue,
                delivery_mode=TRANSIENT,
                retry=False,
                confirm_timeout=PATIENCE,
            )
        finally:
            channel.close()

    _call(leave)


def delete(queue: str) -> None:
    """Delete a queue, if there is one. Raises BrokerAway."""

    def remove(line: _Line) -> None:
        channel = line.open().channel()
        try:
            if queues.is_redis(app.conf.broker_url):
                channel.queue_purge(queue)  # a list; kombu's delete unbinds it only
            else:
                channel.queue_delete(queue)
        finally:
            channel.close()

    _call(remove)


def hang_up() -> None:
    """Close this process' connection and forget how the broker was: it may be another now."""
    with _line.lock:
        _line.close()
        _line.silent_until = 0.0
        _line.is_down = False


def _depth(connection: Any, queue: str) -> int:
    # On Redis declaring creates nothing, and kombu's passive look forgets the key prefix.
    is_passive = not queues.is_redis(app.conf.broker_url)
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=is_passive).message_count)
    except connection.channel_errors as error:
        if "404" not in str(error) and "NOT_FOUND" not in str(error):
            raise
        # Whoever publishes next has to declare it again: RabbitMQ drops what no queue takes.
        connection.declared_entities.clear()
        return 0
    finally:
        channel.close()


def _call(work: Callable[[_Line], T]) -> T:
    line = _line
    if time.monotonic() < line.silent_until:
        raise BrokerAway("it failed a moment ago")
    if not line.lock.acquire(timeout=PATIENCE):
        raise BrokerAway("another thread is waiting for it")
    try:
        return _guarded(line, work)
    finally:
        line.lock.release()


def _guarded(line: _Line, work: Callable[[_Line], T]) -> T:
    if time.monotonic() < line.silent_until:
        raise BrokerAway("it failed a moment ago")
    had_connection, began = line.connection is not None, time.monotonic()
    try:
        answer = work(line)
    except Exception as error:  # whatever the client raises, the broker could not be used
        if not had_connection or time.monotonic() - began > PATIENCE / 2:
            line.failed(error)
            raise BrokerAway(str(error)) from error
        answer = _once_more(line, work)
    line.worked()
    return answer


def _once_more(line: _Line, work: Callable[[_Line], T]) -> T:
    """With a new connection: the old one failed at once, perhaps because the broker was restarted since."""
    line.close()
    try:
        return work(line)
    except Exception as error:
        line.failed(error)
        raise BrokerAway(str(error)) from error
