"""What is measured where it happens: small values, told to whoever counts them in this process.

Unlike a subscriber of `hooks`, an observer changes nothing about how jobs are run and written down: it is told of all
jobs, after the ledger has them, and is never told what they worked on. Other rooms tell values of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger("longwave.jobs")


class Ending(StrEnum):
    """What a run came to, for the ledger. A turn that ends with `Again` is none."""

    SUCCESS = "success"  # done
    FAILURE = "failure"  # gave up, for good
    RETRY = "retry"  # raised, and will be tried again
    CANCELLED = "cancelled"  # stopped, or taken back while a worker had it


@dataclass(frozen=True, slots=True)
class Ran:
    """A job's function was run. waited: seconds from when it could have run. seconds: how long it took."""

    name: str
    queue: str
    waited: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The ledger has what a run came to."""

    name: str
    queue: str
    ending: Ending


_observers: dict[type, list[Callable[[Any], object]]] = {}
_complained: set[type] = set()


def observe(kind: type[T], observer: Callable[[T], object]) -> None:
    """Call `observer` with every value of this kind that is told in this process, and in those it forks."""
    _observers.setdefault(kind, []).append(observer)


def forget_observers() -> None:
    """Nobody counts any more."""
    _observers.clear()
    _complained.clear()


def is_observed(kind: type) -> bool:
    """Whether a value of this kind is worth making."""
    return kind in _observers


def tell(value: object) -> None:
    """Tell those who count it. Nothing is raised: what is measured must not suffer from being measured."""
    for observer in _observers.get(type(value), ()):
        try:
            observer(value)
        except Exception as error:
            _complain(type(value), error)


def _complain(kind: type, error: Exception) -> None:
    if kind not in _complained:  # one line, not one a job
        _complained.add(kind)
        log.warning("not_measured", what=kind.__name__, why=str(error))
