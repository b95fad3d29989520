"""The job ledger: durable background tasks in SQL, with Celery and a broker as the doorbell."""

from longwave.jobs.declare import Again, JobHandle, job
from longwave.jobs.hooks import JobEvent
from longwave.jobs.job_context import Cancelled
from longwave.jobs.spans import trace_operation

__all__ = ["Again", "Cancelled", "JobEvent", "JobHandle", "job", "trace_operation"]
