"""What a running job may know about itself: `job_context.current()`."""

import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from longwave.core.errors import LongwaveError
from longwave.jobs import stop

# Unlike the monotonic clock it counts the time a machine was suspended: a lease runs out in it as well.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LeaseLost(LongwaveError):
    """This run no longer owns its job: another worker may have started it. Stop, change nothing more."""


class CheckpointWriter(Protocol):
    """Writes a checkpoint guarded by the lease; False when the lease is gone."""

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

    def checkpoint(self, value: Any) -> None:
        """Store `value` durably with the job; the next run finds it in `saved`. Raises LeaseLost.

        It waits for the database: from a coroutine, call it through `asyncio.to_thread`.
        """
        if not self._write(self.id, self.seq, self.owner, value):
            self._is_lost.set()
            raise LeaseLost(f"job {self.id} is no longer ours: its lease ran out")
        self.saved = value

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


_current: ContextVar[JobContext] = ContextVar("longwave_job")


def current() -> JobContext:
    """The job that is running here. Raises LookupError outside of one."""
    return _current.get()


def enter(context: JobContext) -> Any:
    """Make `context` the current one; give the answer to `leave`."""
    return _current.set(context)


def leave(token: Any) -> None:
    """Undo `enter`."""
    _current.reset(token)
