"""A job's life as a list of moments: what its row says, and the spans it recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from longwave.core.errors import NotFound
from longwave.core.text import storable
from longwave.jobs import ledger
from longwave.jobs.models import FINISHED, Job, JobSpan, Status
from longwave.jobs.spans import Span

MAX_SPANS = 500
"""Spans that are kept of one job: the first ones."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened in a job's life.

    what: submitted, due, started, retry, success, failure, cancelled, or the name of a span. detail: the attempt, the
    error or the reason. component, duration_ms: of a span.
    """

    at: datetime
    what: str
    detail: str = ""
    component: str = ""
    duration_ms: float | None = None


def timeline_of(job_id: int) -> list[Moment]:
    """The moments known of a job, the earliest first; of its runs the last one. Raises NotFound."""
    row = ledger.look(job_id)
    if row is None:
        raise NotFound(f"There is no task {job_id}; those that ended are forgotten after a while.")
    return sorted((*_moments(row), *_spans(job_id)), key=lambda moment: moment.at)


def keep(job_id: int, spans: Sequence[Span]) -> None:
    """Store spans of a job, as far as there is room for them."""
    room = max(0, MAX_SPANS - JobSpan.objects.filter(job_id=job_id).count())
    JobSpan.objects.bulk_create(
        JobSpan(
            job_id=job_id,
            name=storable(span.name),
            component=storable(span.component),
            started_at=span.started_at,
            duration_ms=span.duration_ms,
            error=storable(span.error),
        )
        for span in spans[:room]
    )


def _moments(row: Job) -> Iterator[Moment]:
    yield Moment(row.created_at, "submitted")
    if row.run_at is not None and row.status in (Status.SCHEDULED, Status.RETRY):
        yield Moment(row.run_at, "due" if row.status == Status.SCHEDULED else "retry", row.error)
    if row.started_at is not None:
        yield Moment(row.started_at, "started", f"attempt {row.attempt}")
    if row.finished_at is not None and row.status in FINISHED:
        yield Moment(row.finished_at, str(row.status), row.cancel_reason or row.error)


def _spans(job_id: int) -> Iterator[Moment]:
    for span in JobSpan.objects.filter(job_id=job_id).order_by("pk"):
        yield Moment(span.started_at, span.name, span.error, span.component, span.duration_ms)
