"""The job ledger: durable background tasks in SQL, with Celery and a broker as the doorbell."""

from longwave.jobs.declare import Again, JobHandle, job

__all__ = ["Again", "JobHandle", "job"]
