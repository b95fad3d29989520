"""The job ledger: durable background tasks in SQL, with Celery and a broker as the doorbell."""

from longwave.jobs.declare import Again, JobHandle, job
from longwave.jobs.hooks import JobEvent
from longwave.jobs.job_context import Cancelled
from longwave.jobs.spans import trace_operation
from longwave.jobs.timetable import schedule

__all__ = ["Again", "Cancelled", "JobEvent", "JobHandle", "job", "schedule", "trace_operation"]
