"""Who is there to work: the workers that answer over the broker, or else those whose jobs are running."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from longwave.celery import app
from longwave.jobs import broker
from longwave.jobs.models import Job, Status

log = structlog.get_logger("longwave.jobs")

PATIENCE = 0.5
"""Seconds that workers have to answer. All of them are used: nobody knows how many will."""


def count_workers() -> int:
    """How many workers there are. While the broker is away it can only be those that are busy."""
    return max(len(_answering()), len(_busy()))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker says of itself. memory_mb: the most that its main process has had."""

    name: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int | None
    memory_mb: float | None


def workers() -> dict[str, Answer] | None:
    """The workers that answer, by name; None when the broker cannot be asked. It takes a second."""
    served = _asked("active_queues")
    if served is None:
        return None
    known = _asked("stats") or {}
    return {name: _answer(name, queues, known.get(name, {})) for name, queues in sorted(served.items())}


def listeners() -> dict[str, list[str]] | None:
    """Queue → the workers that answer and listen to it; None when the broker cannot be asked."""
    served = _asked("active_queues")
    if served is None:
        return None
    found: dict[str, list[str]] = {}
    for worker, queues in sorted(served.items()):
        for queue in queues:
            found.setdefault(queue["name"], []).append(worker)
    return found


def _asked(what: str) -> dict[str, Any] | None:
    try:
        broker.depth("default")  # quick to give up, which Celery's own question is not
        inspect = app.control.inspect(timeout=PATIENCE)
        answers: dict[str, Any] = getattr(inspect, what)() or {}
    except Exception as error:  # whatever this broker's driver raises
        log.debug("workers_not_asked", why=str(error))
        return None
    return answers


def _answer(name: str, queues: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> Answer:
    peak = known.get("rusage", {}).get("maxrss") if isinstance(known.get("rusage"), dict) else None
    return Answer(
        name=name,
        host=name.partition("@")[2],
        pid=int(known.get("pid", 0)),
        queues=sorted(queue["name"] for queue in queues),
        concurrency=known.get("pool", {}).get("max-concurrency"),
        memory_mb=None if peak is None else round(peak / 1024, 1),
    )


def _answering() -> list[str]:
    try:
        broker.depth("default")  # quick to give up, which Celery's own question is not
        answers = app.control.ping(timeout=PATIENCE)
    except Exception as error:  # whatever this broker's driver raises
        log.debug("workers_not_asked", why=str(error))
        return []
    return [name for answer in answers for name in answer]


def _busy() -> set[str]:
    """The workers whose jobs are running, as `host:pid` of their main process."""
    owners = Job.objects.filter(status=Status.RUNNING).values_list("owner", flat=True)
    return {":".join(owner.split(":")[:2]) for owner in owners}
