"""How a worker that is leaving still answers, until its last job has ended.

Celery takes its ear for questions away together with the one for jobs. So another one listens, in a thread with a
connection of its own, and knows no more than who this is.
"""

import os
import threading
from typing import Any

import structlog
from celery.utils.collections import AttributeDict
from celery.worker.control import Panel
from kombu.messaging import Consumer

from longwave.celery import app

log = structlog.get_logger("longwave.jobs")

ANSWERED = ("longwave_worker", "ping")
"""The questions that it answers. Celery's others look at what is being taken down."""

LOOK_EVERY = 0.2
AGAIN_AFTER = 1.0
"""Seconds between two looks at whether it is over, and between two tries to reach a broker that is away."""


class Draining:
    """The answers of one worker while it leaves."""

    def __init__(self, consumer: Any) -> None:
        name = consumer.hostname
        self._node = app.control.mailbox.Node(
            name,
            handlers={question: Panel.data[question] for question in ANSWERED},
            state=AttributeDict(app=app, hostname=name, consumer=consumer),
        )
        self._is_over = threading.Event()

    def begin(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._answer, name="longwave-draining", daemon=True).start()

    def end(self) -> None:
        """Answer no more."""
        self._is_over.set()

    def _answer(self) -> None:
        while not self._is_over.is_set():
            try:
                with app.connection_for_read(heartbeat=0) as connection:
                    self._listen(connection)
            except Exception as error:  # whatever this broker's driver raises
                log.debug("leaving_unheard", why=str(error))
                self._is_over.wait(AGAIN_AFTER)

    def _listen(self, connection: Any) -> None:
        self._node.channel = connection.channel()
        # A queue of its own: on RabbitMQ the worker's may not be gone yet, and is nobody else's.
        queue = app.control.mailbox.get_queue(f"{self._node.hostname}.{os.getpid()}.leaving")
        questions: Any = Consumer
        with questions(self._node.channel, [queue], callbacks=[self._hear], no_ack=True, accept=["json"]):
            while not self._is_over.is_set():
                try:
                    connection.drain_events(timeout=LOOK_EVERY)
                except TimeoutError:
                    continue

    def _hear(self, body: Any, message: Any) -> None:
        asked = body.get("destination")
        if body.get("method") in ANSWERED and (not asked or self._node.hostname in asked):
            self._node.dispatch(**body)
