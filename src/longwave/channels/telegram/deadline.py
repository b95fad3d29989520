"""Requests that take too long are ended: one timer for all of a connection's, where a timer for each costs speed."""

import asyncio
from typing import Any

LOOKS = 20
"""How often within the allowed time it is looked who has used it up: so it is exceeded by a twentieth at most."""

Request = asyncio.Task[Any]


class Deadline:
    """The same number of seconds for every request of a connection. Used on its event loop only.

    A request that is late is cancelled in its task, which asks `passed` whose cancellation that was.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: dict[Request, float] = {}  # in the order in which they began
        self._late: set[Request] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Request:
        """The current task begins a request; give the answer to `passed` and `end`."""
        loop = asyncio.get_running_loop()
        request = asyncio.current_task(loop)
        assert request is not None
        self._began[request] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds / LOOKS, self._look, loop)
        return request

    def end(self, request: Request) -> None:
        """The request has ended, one way or another."""
        del self._began[request]
        self._late.discard(request)

    def passed(self, request: Request) -> bool:
        """Whether a CancelledError of this request came from here. It is settled then, and the task goes on."""
        if request not in self._late:
            return False
        request.uncancel()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        too_early = loop.time() - self._seconds
        for request, began in self._began.items():
            if began > too_early:
                break
            if request not in self._late:
                self._late.add(request)
                request.cancel()
        self._timer = loop.call_later(self._seconds / LOOKS, self._look, loop) if self._began else None
