"""`@schedule`: which jobs are submitted again and again by themselves. Declarations only, as cheap as those of jobs."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import rhythm
from longwave.jobs.declare import JobType
from longwave.jobs.rhythm import CatchUp, Rhythm

J = TypeVar("J", bound=JobType[..., Any])

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A schedule: at which times which job is submitted with which arguments."""

    name: str
    job: str
    rhythm: Rhythm
    catch_up: CatchUp
    args: Mapping[str, Any] = field(default_factory=dict)


_registry: dict[str, Entry] = {}


def schedule(
    *,
    every: float | None = None,
    cron: str = "",
    timezone: str = "",
    catch_up: str = CatchUp.ONCE,
    args: Mapping[str, Any] | None = None,
    name: str = "",
) -> Callable[[J], J]:
    """Submit the job below by itself, every so many seconds or by a cron expression.

    timezone: whose clocks the cron expression is about; UTC unless given. catch_up: what becomes of times that passed
    while nothing ran: skip, once or all. name: the job's unless given; needed for a second schedule of one job.
    Raises InvalidInput for what cannot be right.
    """

    def declare(job: J) -> J:
        if not isinstance(job, JobType):
            raise TypeError("@schedule belongs above @job: what it submits is a declared job")
        times = rhythm.parse(every=every, cron=cron, timezone=timezone)
        _register(entry(name or job.name, job, times, catch_up, args or {}))
        return job

    return declare


def entry(name: str, job: JobType[..., Any], times: Rhythm, catch_up: str, args: Mapping[str, Any]) -> Entry:
    """A schedule whose parts fit together. Raises InvalidInput naming what does not."""
    job.check(args)
    stored = json.loads(json.dumps(args))  # as the database gives it back, to be compared with that
    return Entry(checked_name(name), job.name, times, policy(catch_up), stored)


def declared() -> list[Entry]:
    """Every schedule of the modules imported so far."""
    return list(_registry.values())


def get(name: str) -> Entry | None:
    """The schedule that code declares under this name."""
    return _registry.get(name)


def checked_name(name: str) -> str:
    """The name itself. Raises InvalidInput for one that no schedule may have."""
    if not _NAME.fullmatch(name):
        remedy = "must be 1 to 100 small letters, digits, dots, dashes and underscores"
        raise InvalidInput(Problem("name", name, remedy))
    return name


def policy(name: str) -> CatchUp:
    """The catch-up policy of that name. Raises InvalidInput."""
    try:
        return CatchUp(name)
    except ValueError:
        raise InvalidInput(Problem("catch_up", name, "must be one of " + ", ".join(CatchUp))) from None


def _register(entry: Entry) -> None:
    known = _registry.get(entry.name)
    if known is not None and known != entry:
        raise InvalidInput(
            Problem("name", entry.name, "is another schedule's; give this one a name of its own")
        )
    _registry[entry.name] = entry
