"""The one event loop of a process. It outlasts every job, so that HTTP sessions and pools can too."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.get_logger("longwave.jobs")
T = TypeVar("T")

CLOSE_PATIENCE = 1.0
"""Seconds that sessions have to close before the process ends without them."""

CANCEL_PATIENCE = 10.0
"""Seconds that a cancelled coroutine has to end before the worker goes on without it."""

CLOSE_PATIENCE = 2.0
"""Seconds that closing may take what is left on the loop. The process is about to end."""


class _Loop:
    """An asyncio.Runner in a thread of its own: a time limit's signal must not be raised inside the loop."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._live, name="longwave-loop", daemon=True)
        self._thread.start()
        self._started.wait()

    def _live(self) -> None:
        import uvloop  # heavy, and needed by the processes that run coroutines only

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            self.loop = runner.get_loop()
            asyncio.set_event_loop(self.loop)
            self._started.set()
            while not self._is_closing:
                self._run_on()

    def _run_on(self) -> None:
        """Run until the end; what one job does to the loop must not end it for the others."""
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            # Raised in a task. Whoever waits for that gets it too; from here it would end the thread.
            log.warning("loop_goes_on", why=type(error).__name__)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a coroutine of this loop must be awaited, not run")
        ended = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_announcing(coroutine, ended), self.loop)
        try:
            return future.result()
        except BaseException:
            # A time limit or Ctrl-C, raised in this thread: the coroutine must not live on behind our back.
            if future.cancel() or future.cancelled():
                ended.wait(CANCEL_PATIENCE)
            raise

    def close(self) -> None:
        self._is_closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CLOSE_PATIENCE)


async def _announcing(coroutine: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    try:
        return await coroutine
    finally:
        ended.set()


_lock = threading.Lock()
_current: _Loop | None = None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this process' loop and wait for it. Any thread but the loop's own may call it."""
    global _current
    with _lock:
        if _current is None:
            _current = _Loop()
        loop = _current
    return loop.run(coroutine)


_closers: list[Callable[[], Coroutine[Any, Any, None]]] = []


def at_close(closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `closer()` on the loop before it ends: for sessions and pools that live as long as it does."""
    _closers.append(closer)


def close() -> None:
    """End the loop: what lives on it is closed, its tasks cancelled. The next `run` starts a new one."""
    global _current
    with _lock:
        loop, _current = _current, None
    if loop is None:
        return
    for closer in _closers:
        try:
            asyncio.run_coroutine_threadsafe(closer(), loop.loop).result(CLOSE_PATIENCE)
        except Exception:
            log.exception("closing_failed")
    loop.close()


def _forget_after_fork() -> None:
    # A child has the parent's objects, but not its threads.
    global _current, _lock
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
