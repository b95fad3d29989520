"""`trace_operation`: what a job spends its time on, kept with the job, and told to OpenTelemetry where that is."""

import importlib
import importlib.util
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from longwave.core.errors import words
from longwave.jobs import job_context

MAX_NAME = 100
MAX_ERROR = 255


@dataclass(frozen=True, slots=True)
class Span:
    """One operation within a job. error: empty when it ended well."""

    name: str
    component: str
    started_at: datetime
    duration_ms: float
    error: str


@contextmanager
def trace_operation(name: str, component: str = "") -> Iterator[None]:
    """Record how long the block took, and whether it raised, in the running job's timeline.

    component: the part of your program it belongs to. Where the package opentelemetry-api is installed, it is an
    OpenTelemetry span as well; outside of a job it is only that. Fine in coroutines.
    """
    started_at, began, error = datetime.now(UTC), time.perf_counter(), ""
    try:
        with _told(name, component):
            yield
    except BaseException as raised:
        error = f"{type(raised).__name__}: {words(raised)}"
        raise
    finally:
        context = job_context.running()
        if context is not None:
            took = (time.perf_counter() - began) * 1000
            context.add_span(
                Span(name[:MAX_NAME], component[:MAX_NAME], started_at, round(took, 3), error[:MAX_ERROR])
            )


def _told(name: str, component: str) -> AbstractContextManager[Any]:
    tracer = _tracer()
    if tracer is None:
        return nullcontext()
    attributes: dict[str, Any] = {"longwave.component": component}
    context = job_context.running()
    if context is not None:
        attributes["longwave.job_id"] = context.id
    span: AbstractContextManager[Any] = tracer.start_as_current_span(name, attributes=attributes)
    return span


@cache
def _tracer() -> Any:
    """OpenTelemetry's, when it is installed."""
    if importlib.util.find_spec("opentelemetry") is None:
        return None
    return importlib.import_module("opentelemetry.trace").get_tracer("longwave")
