"""A checkpoint bears a database that goes away: what the job has done is not done again."""

from contextlib import suppress

import pytest
from django.db import DatabaseError, connection

from longwave.jobs import job, job_context, runner
from longwave.jobs.models import Job, Status

done: list[object] = []
HANG_UP = {"postgresql": "SELECT pg_terminate_backend(pg_backend_pid())", "mysql": "KILL CONNECTION_ID()"}


@job("checkpoints.careful")
def careful() -> None:
    """Do something, lose the connection, and write down that it was done."""
    context = job_context.current()
    if context.saved is None:
        done.append(context.id)
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute(HANG_UP[connection.vendor])  # the answer to it is lost, too
        context.checkpoint("done")


@job("checkpoints.careless", retries=3, backoff=(1,))
def careless(value: object = None) -> None:
    """Store what no database can hold."""
    job_context.current().checkpoint(UNSTORABLE[int(str(value))])


deep: list[object] = []
for _ in range(40):
    deep = [deep]
UNSTORABLE = ("a\0b", float("nan"), {1, 2}, deep, "x" * 4_000_000)


@pytest.mark.parametrize("number", range(len(UNSTORABLE)))
def test_what_not_every_database_can_hold_fails_the_job_with_words(database: str, number: int) -> None:
    job_id = careless.submit(value=number).id
    runner.execute(job_id, 1)
    row = Job.objects.get(pk=job_id)
    assert (row.status, row.checkpoint) == (Status.FAILURE, None)
    assert row.error.startswith("checkpoint = ")


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_checkpoint_outlives_a_lost_connection(database: str) -> None:
    done.clear()
    job_id = careful.submit().id
    assert runner.execute(job_id, 1)
    row = Job.objects.get(pk=job_id)
    assert (row.status, row.attempt, row.checkpoint, row.failures) == (Status.SUCCESS, 1, "done", 0)
    assert done == [job_id]
