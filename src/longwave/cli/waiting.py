"""For commands that hand a message to the workers: whether anything runs, and what became of it."""

import time
from collections.abc import Mapping
from typing import Any

import typer

from longwave.core.errors import Conflict, NotFound
from longwave.jobs.models import FINISHED, Job, Status
from longwave.ops import liveness

LOOK_EVERY = 0.1
"""Seconds between two looks at a job."""


def warn_when_nothing_runs() -> bool:
    """Say on stderr when nobody would do the work; whether somebody would."""
    runs = liveness.is_anything_running()
    if not runs:
        typer.echo(
            "Nothing is running that would send it: start `longwave up` in another terminal.", err=True
        )
    return runs


def finished(job_id: int, timeout: float) -> Job:
    """The job, once it has ended. Conflict after `timeout` seconds: it goes on without us, as after Ctrl-C."""
    try:
        return _finished(job_id, timeout)
    except KeyboardInterrupt:
        typer.echo(f"Job {job_id} goes on without you: a worker sends it.", err=True)
        raise typer.Exit(130) from None


def _finished(job_id: int, timeout: float) -> Job:
    deadline = time.monotonic() + timeout
    while True:
        job = Job.objects.filter(id=job_id).first()
        if job is None:
            raise NotFound(f"Job {job_id} is gone: somebody has deleted it.")
        if job.status in FINISHED:
            return job
        if time.monotonic() > deadline:
            raise Conflict(
                f"Job {job_id} is still {job.status} after {timeout:g} s and goes on in the background. "
                "Does a worker run? `longwave up` starts one."
            )
        time.sleep(LOOK_EVERY)


def outcome(job: Job) -> tuple[bool, str]:
    """Whether the job's message was sent, and a sentence that says so."""
    result: Mapping[str, Any] = job.result or {}
    if job.status == Status.SUCCESS:
        return True, f"Sent: message {result.get('message_id')} to {result.get('address')}."
    return False, f"Not sent: {job.error or job.status}"
