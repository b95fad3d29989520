"""Subscribers to what becomes of jobs: those of one job, and those of every job (metrics, logs).

Nothing heavy is imported here, as a module full of jobs imports this.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a run ended. A job that was cancelled, or takes another turn, is told to nobody."""

    SUCCESS = "success"  # done
    FAILURE = "failure"  # gave up, for good
    RETRY = "retry"  # raised, and will be tried again


@dataclass(frozen=True, slots=True)
class JobEvent:
    """What became of one run: what a subscriber is called with.

    attempt: 1 for the first. result: of a success. error: in a sentence. retry_in: seconds until the next try.
    """

    outcome: Outcome
    id: int
    name: str
    queue: str
    args: dict[str, Any]
    attempt: int
    result: Any = None
    error: str = ""
    retry_in: float | None = None


Subscriber = Callable[[JobEvent], object]
Hooks = dict[Outcome, list[Subscriber]]


def none() -> Hooks:
    """No subscribers yet."""
    return {outcome: [] for outcome in Outcome}


EVERY = none()
"""Subscribers to all jobs of this process."""


def wants(own: Hooks, outcome: Outcome) -> bool:
    """Whether anybody wants to be told of this outcome of a job with the hooks `own`."""
    return bool(own[outcome] or EVERY[outcome])


def tell(own: Hooks, event: JobEvent) -> None:
    """Call the subscribers, one after another. One that raises is logged; the job's outcome stays what it is."""
    for subscriber in (*EVERY[event.outcome], *own[event.outcome]):
        try:
            _call(subscriber, event)
        except (Exception, SystemExit):
            _log_failure(subscriber, event)


def _call(subscriber: Subscriber, event: JobEvent) -> None:
    answer = subscriber(event)
    if inspect.iscoroutine(answer):
        from longwave.jobs import coroutines

        coroutines.run(answer)


def _log_failure(subscriber: Subscriber, event: JobEvent) -> None:
    import structlog

    hook = getattr(subscriber, "__qualname__", repr(subscriber))
    log = structlog.get_logger("longwave.jobs")
    log.exception("hook_failed", hook=hook, job=event.id, job_name=event.name, outcome=event.outcome)
