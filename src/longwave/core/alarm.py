"""An event that a signal handler may set."""

from contextlib import suppress
from queue import Empty, SimpleQueue


class Alarm:
    """As threading.Event, but `set` may be called in a signal handler.

    That runs in the main thread, between any two steps of what it interrupts. There an Event's lock may be held, and
    the process would wait for itself for ever.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._rung: SimpleQueue[None] = SimpleQueue()  # its `put` may interrupt itself and `get`

    def set(self) -> None:
        """Wake up whoever waits, now and from now on."""
        self._is_set = True
        self._rung.put(None)

    def clear(self) -> None:
        """Let the next who wait wait again. For one who waits alone."""
        self._is_set = False
        with suppress(Empty):
            while True:
                self._rung.get_nowait()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Until it is set, for so many seconds at most; whether it is."""
        if not self._is_set:
            with suppress(Empty):
                self._rung.get(timeout=max(0.0, seconds))
                self._rung.put(None)  # for others who wait
        return self._is_set
