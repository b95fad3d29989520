"""Parts that have to wait for a network are read beside the scrape, in a thread, and shown as they were found last."""

import threading
import time
from collections.abc import Iterable

from django.db import connections

from longwave.ops.metrics.figures import Part, Reading

STALE_AFTER = 5
"""Readings in a row that may be missing before what was found last is not shown any more."""


class Unread(Exception):
    """The last reading failed, or none has come back for long."""


class Beside:
    """The last reading of one slow part. The first scrape starts the first reading, and shows nothing of it yet."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._lock = threading.Lock()
        self._found: list[Reading] = []
        self._why = ""
        self._began = self._ended = float("-inf")
        self._thread: threading.Thread | None = None

    def read(self) -> Iterable[Reading]:
        """What was found last. Starts the next reading when it is due. Raises Unread."""
        now = time.monotonic()
        with self._lock:
            if self._ended == float("-inf") and self._thread is None:
                self._ended = now  # from now on it is missing
            self._start_if_due(now)
            if self._why:
                raise Unread(self._why)
            if now - self._ended > STALE_AFTER * self._part.every:
                raise Unread(f"nothing was found for {now - self._ended:.0f} s")
            return self._found

    def wait(self) -> None:
        """Wait for the reading that is under way."""
        if self._thread is not None:
            self._thread.join()

    def _start_if_due(self, now: float) -> None:
        is_reading = self._thread is not None and self._thread.is_alive()
        if not is_reading and now - self._began >= self._part.every:
            self._began = now
            self._thread = threading.Thread(target=self._look, name=f"metrics-{self._part.name}", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        found: list[Reading] = []
        why = ""
        try:
            found = list(self._part.read())
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        finally:
            connections.close_all()
        with self._lock:
            self._found, self._why, self._ended = found, why, time.monotonic()
