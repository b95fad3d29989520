"""Rings for what was just submitted, in a thread of its own: nobody who submits waits for the broker.

The first of a calm moment is rung for at once. Those that follow within moments share a message, which costs the
broker and the workers a fraction of one each. What a kill keeps from being rung is in the ledger: the sweeper does it.
"""

import atexit
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from django.db import connections

from longwave.jobs import ring

LINGER = 0.005
"""Seconds that a job may wait for others to share its message, when one was rung for within the last BUSY seconds."""

BUSY = 0.02

TOGETHER = 8
"""Jobs, submitted one by one, that share a message: one worker runs them, so not more than it soon has done."""

IDLE = 10.0
"""Seconds that the thread waits for another job before it ends."""

FLUSH_PATIENCE = 2.0
"""Seconds that a process which ends waits for its last ringing."""

log = structlog.get_logger("longwave.jobs")

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Wish:
    """Jobs of one name in one queue to ring for. is_shared: one job that may share its message with others."""

    name: str
    queue: str
    pairs: Pairs
    is_shared: bool


class _Ringer:
    """The thread, and what it has to ring for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: list[_Wish] = []
        self._is_alive = False
        self._is_waiting = False
        self._is_ringing = False
        self._is_hurried = False
        self._rang_at = 0.0

    def add(self, wish: "_Wish") -> None:
        with self._changed:
            if not self._is_alive:
                threading.Thread(target=self._live, name="longwave-ringer", daemon=True).start()
                self._is_alive = True
            self._pending.append(wish)
            if self._is_waiting:
                self._changed.notify_all()

    def flush(self, patience: float) -> bool:
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            is_done = self._changed.wait_for(lambda: not self._pending and not self._is_ringing, patience)
            self._is_hurried = False
            return is_done

    def _live(self) -> None:
        while pending := self._next():
            try:
                _ring(pending)
            except Exception:
                # The thread must live. The sweeper rings for these.
                log.exception("ringing_failed", jobs=sum(len(wish.pairs) for wish in pending))
            with self._changed:
                self._rang_at, self._is_ringing = time.monotonic(), False
                self._changed.notify_all()

    def _next(self) -> "list[_Wish]":
        """What is to be rung for now. Nothing: there was nothing for a while, and the thread is to end."""
        with self._changed:
            self._is_waiting = True
            self._changed.wait_for(lambda: self._pending, IDLE)
            self._is_waiting = False
            if self._pending and time.monotonic() - self._rang_at < BUSY:
                self._changed.wait_for(lambda: self._is_hurried, LINGER)
            pending, self._pending = self._pending, []
            self._is_alive = self._is_ringing = bool(pending)
            return pending


def soon(name: str, queue: str, pairs: Pairs, *, is_alone: bool = False) -> None:
    """Ring for these jobs of one name in one queue, in a moment. is_alone: share no message with what comes after."""
    _ringer.add(_Wish(name, queue, pairs, is_shared=len(pairs) == 1 and not is_alone))


def flush(patience: float = FLUSH_PATIENCE) -> bool:
    """Wait until everything is rung for, or known not to be; False when that takes more than `patience` seconds."""
    return _ringer.flush(patience)


def _ring(pending: list[_Wish]) -> None:
    shared: dict[tuple[str, str], list[tuple[int, int]]] = {}
    try:
        for wish in pending:
            if wish.is_shared:
                shared.setdefault((wish.name, wish.queue), []).extend(wish.pairs)
            else:
                ring.ring(wish.name, wish.queue, wish.pairs)
        for (name, queue), pairs in shared.items():
            ring.ring(name, queue, pairs, together=TOGETHER)
    finally:
        connections.close_all()  # opened only to note what could not be rung for


def _forget_after_fork() -> None:
    global _ringer
    _ringer = _Ringer()


_ringer = _Ringer()
os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(flush)
