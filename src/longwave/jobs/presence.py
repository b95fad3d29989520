"""Who is there to work: the workers that answer over the broker, or else those whose jobs are running."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from longwave.celery import app
from longwave.jobs import broker
from longwave.jobs.models import Job, Status

log = structlog.get_logger("longwave.jobs")

PATIENCE = 1.0
"""Seconds that workers have to answer: on Redis they look for questions about twice a second. All of them are used:
nobody knows how many will answer."""


def count_workers() -> int:
    """How many workers there are. While the broker is away it can only be those that are busy."""
    return max(len(_answering()), len(_busy()))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker says of itself. memory_mb: of all its processes; shared pages count in each.

    declares: the jobs that it has code for, by name; None where it does not say.
    is_leaving: it was told to end or to begin anew: its jobs end, and it listens to no queue any more.
    """

    name: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int | None
    memory_mb: float | None
    declares: list[str] | None = None
    is_leaving: bool = False

    def lacks(self, job: str) -> bool:
        """Whether it is known to have no code for it."""
        return self.declares is not None and job not in self.declares


def workers() -> dict[str, Answer] | None:
    """The workers that answer, by name; None when the broker cannot be asked. It takes a second."""
    try:
        broker.depth("default")  # quick to give up, which Celery's own question is not
        answers = app.control.broadcast("longwave_worker", reply=True, timeout=PATIENCE)
    except Exception as error:  # whatever this broker's driver raises
        log.debug("workers_not_asked", why=str(error))
        return None
    return {answer.name: answer for answer in _by_name(answers or ())}


def _by_name(answers: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Answer]:
    """In the order of their names. Where several have the same, against the rules, each has its pid in it too."""
    told = [(name, values) for answer in answers for name, values in answer.items() if "pid" in values]
    count = Counter(name for name, _ in told)
    found = [
        _answer(name if count[name] == 1 else f"{name}:{values['pid']}", values) for name, values in told
    ]
    return sorted(found, key=lambda answer: answer.name)


def _answer(name: str, told: Mapping[str, Any]) -> Answer:
    """From a worker of this version or another: what it does not say is not known."""
    return Answer(
        name=name,
        host=told.get("host", ""),
        pid=told["pid"],
        queues=list(told.get("queues", ())),
        concurrency=told.get("concurrency"),
        memory_mb=told.get("memory_mb"),
        declares=told.get("declares"),
        is_leaving=told.get("is_leaving", False),
    )


def listeners() -> dict[str, list[str]] | None:
    """Queue → the workers that answer and listen to it; None when the broker cannot be asked."""
    answers = workers()
    return None if answers is None else by_queue(answers)


def by_queue(answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    """Queue → those of the workers that listen to it."""
    found: dict[str, list[str]] = {}
    for answer in answers.values():
        for queue in answer.queues:
            found.setdefault(queue, []).append(answer.name)
    return found


def _answering() -> list[str]:
    return list(workers() or ())


def _busy() -> set[str]:
    """The workers whose jobs are running, as `host:pid` of their main process."""
    owners = Job.objects.filter(status=Status.RUNNING).values_list("owner", flat=True)
    return {":".join(owner.split(":")[:2]) for owner in owners}
