"""The job ledger: durable background tasks in SQL, with Celery and a broker as the doorbell."""

from longwave.jobs.declare import Again, JobHandle, job
from longwave.jobs.job_context import Cancelled

__all__ = ["Again", "Cancelled", "JobHandle", "job"]
