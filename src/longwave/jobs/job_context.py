"""What a running job may know about itself: `job_context.current()`."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from longwave.core.errors import InvalidInput, LongwaveError, Problem
from longwave.core.text import storable
from longwave.jobs import stop

if TYPE_CHECKING:
    from longwave.jobs.spans import Span

# Unlike the monotonic clock it counts the time a machine was suspended: a lease runs out in it as well.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


MAX_NOTE = 200
"""Characters of a note that are kept."""

MAX_SPANS = 500
"""Spans that wait to be written down: half a second's, or while the database is away the last ones."""


class Cancelled(LongwaveError):
    """Somebody has cancelled this job: clean up and let it pass. Raised by a job itself, it cancels the job."""


class LeaseLost(LongwaveError):
    """This run no longer owns its job: another worker may have started it. Stop, change nothing more."""


class CheckpointWriter(Protocol):
    """Writes a checkpoint guarded by the lease; False when the lease is gone. Raises Cancelled when it is written."""

    def __call__(self, job_id: int, seq: int, owner: str, value: Any) -> bool: ...


def now() -> float:
    """Seconds on a clock that never steps back and counts suspended time."""
    return time.clock_gettime(_CLOCK)


@dataclass(slots=True, eq=False)
class JobContext:
    """One run of one job.

    attempt: 1 at the first start, more after failures and crashes. crashes: dead workers in a row before it.
    saved: the value of the last checkpoint, also of an earlier run; None without one.
    """

    id: int
    seq: int
    attempt: int
    crashes: int
    owner: str
    saved: Any
    _write: CheckpointWriter = field(repr=False)
    _held_until: float = field(default=0.0, repr=False)
    _is_lost: threading.Event = field(default_factory=threading.Event, repr=False)
    _cancelled: Cancelled | None = field(default=None, repr=False)
    _progress: dict[str, Any] | None = field(default=None, repr=False)
    _written: dict[str, Any] | None = field(default=None, repr=False)
    _spans: deque["Span"] = field(default_factory=lambda: deque(maxlen=MAX_SPANS), repr=False)
    _saving: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def checkpoint(self, value: Any) -> None:
        """Store `value` durably with the job; the next run finds it in `saved`.

        Raises LeaseLost, and Cancelled (`value` is stored all the same). It waits for the database: from a coroutine,
        call it through `asyncio.to_thread`.
        """
        try:
            if not self._write(self.id, self.seq, self.owner, value):
                self.lose()
                raise self._lease_lost()
        except Cancelled as error:
            self._cancelled, self.saved = error, value
            raise
        self.saved = value

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how far the job is: `done` of `total`. Readers see it within a second, and the last one at the end.

        It costs nothing: another thread writes it down, twice a second at most. So call it as often as you like, from
        coroutines too. Raises Cancelled and LeaseLost, a moment after they came true, and InvalidInput for what is
        no number.
        """
        self._progress = _progress(done, total, note)
        if self._cancelled is not None:
            raise self._cancelled
        if self.lost():
            raise self._lease_lost()

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled this job: known half a second later, without the database."""
        return self._cancelled is not None

    def lost(self) -> bool:
        """Whether another worker may have this job by now: known without the database, by our own clock."""
        return self._is_lost.is_set() or now() >= self._held_until

    def stopping(self) -> bool:
        """Whether this worker is about to end: return `Again()` at the next good moment."""
        return stop.stopping()

    def hold_until(self, moment: float) -> None:
        """The lease was renewed: it is ours until `moment` of `now()`."""
        self._held_until = max(self._held_until, moment)

    def lose(self) -> None:
        """The database said that the lease is gone."""
        self._is_lost.set()

    def cancel(self, reason: str) -> None:
        """The database said that the job shall stop."""
        self._cancelled = self._cancelled or Cancelled(reason)

    def add_span(self, span: "Span") -> None:
        """Keep what an operation took, until it is written down."""
        self._spans.append(span)

    def save(
        self,
        write_progress: Callable[[dict[str, Any]], object],
        write_spans: Callable[[list["Span"]], object],
    ) -> None:
        """Have written what is new. One at a time, so that an older progress never follows a newer one."""
        with self._saving:
            last = self._progress
            if last is not None and last is not self._written:
                write_progress(last)
                self._written = last
            if self._spans:
                spans = list(self._spans)
                write_spans(spans)
                for _ in spans:
                    self._spans.popleft()

    def _lease_lost(self) -> LeaseLost:
        return LeaseLost(f"job {self.id} is no longer ours: its lease ran out")


def _progress(done: float, total: float | None, note: str) -> dict[str, Any]:
    for name, value in (("done", done), ("total", 0 if total is None else total)):
        if not (isinstance(value, int | float) and math.isfinite(value)):
            raise InvalidInput(Problem(name, value, "must be a number"))
    return {"done": done, "total": total, "note": storable(str(note))[:MAX_NOTE]}


_current: ContextVar[JobContext] = ContextVar("longwave_job")


def current() -> JobContext:
    """The job that is running here. Raises LookupError outside of one."""
    return _current.get()


def running() -> JobContext | None:
    """The job that is running here; None outside of one."""
    return _current.get(None)


def current_id() -> int | None:
    """The number of the job that is running here; None outside of one."""
    context = running()
    return None if context is None else context.id


def enter(context: JobContext) -> Any:
    """Make `context` the current one; give the answer to `leave`."""
    return _current.set(context)


def leave(token: Any) -> None:
    """Undo `enter`."""
    _current.reset(token)
