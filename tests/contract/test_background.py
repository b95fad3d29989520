"""What bot code imports, on every database: a connection that broke is mended, and what is asked is answered alike."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from longwave import background
from longwave.core.errors import InvalidInput
from longwave.jobs import broker, job, leases, ledger, runner
from longwave.jobs.models import Job


@job("facade.note", queue="import")
def note(value: object = None) -> object:
    """Give it back."""
    return value


@pytest.fixture(autouse=True)
def bell(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    rung: list[Any] = []
    monkeypatch.setattr(
        broker, "publish", lambda name, queue, messages: rung.extend(p for m in messages for p in m)
    )
    yield rung
    runner.coroutines.close()


def test_a_task_is_submitted_done_and_answered(database: str) -> None:
    task_id = background.submit("facade.note", value={"ä": [1, None]})
    assert runner.execute(task_id, 1)
    done = background.get_task_result(task_id)
    assert (done.status, done.result) == ("success", {"ä": [1, None]})
    assert done.duration_ms is not None
    assert done.duration_ms >= 0


def test_what_cannot_be_an_id_is_named(database: str) -> None:
    for verb in (background.get_task_result, background.get_task_timeline, background.cancel):
        with pytest.raises(InvalidInput, match="task_id = 'abc': must be a whole number"):
            verb("abc")  # type: ignore[arg-type]


def test_the_oldest_wait_is_counted_from_when_it_could_have_run(database: str) -> None:
    first = background.submit("facade.note")
    background.submit("facade.note")
    Job.objects.filter(pk=first).update(ready_at=timezone.now() - timedelta(seconds=90))
    found = background.get_queue_status()["import"]
    assert found.ready == 2
    assert 90 <= found.oldest_wait < 120
    held = ledger.claim(Job.objects.get(pk=first), 1, "me", 30.0)
    assert held is not None
    assert background.get_queue_status()["import"].oldest_wait < 60
    assert leases.requeue(held)  # it has waited since its last turn only
    assert background.get_queue_status()["import"].oldest_wait < 60


def test_a_connection_that_the_server_closed_is_opened_again(database: str) -> None:
    if "sqlite" in database:
        pytest.skip("SQLite has no connection to lose")
    background.submit("facade.note", value=1)
    end_connection()
    task_id = background.submit("facade.note", value=2)
    assert background.get_task_result(task_id).status == "pending"
    assert Job.objects.count() == 2


def end_connection() -> None:
    """Have the server close the connection of this thread, as a restart does."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_backend_pid()")
            kill = "SELECT pg_terminate_backend(%s)"
        else:
            cursor.execute("SELECT CONNECTION_ID()")
            kill = "KILL %s"
        (number,) = cursor.fetchone()
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute(kill, [number])
    finally:
        other.close()


def test_in_a_transaction_that_is_rolled_back_nothing_was_submitted(database: str, bell: list[Any]) -> None:
    with transaction.atomic():
        background.submit("facade.note", value=1)
        transaction.set_rollback(True)
    assert Job.objects.count() == 0
    assert bell == []


def test_what_a_submit_does_not_give_has_the_models_defaults(database: str) -> None:
    one = background.submit("facade.note")
    (many,) = note.submit_many([{}])
    plain = Job(name="facade.note", queue="import", status="queued")
    given = {"id", "rung_at", "ready_at", "created_at"}
    for job_id in (one, many):
        stored = Job.objects.get(pk=job_id)
        for field in Job._meta.concrete_fields:
            if field.name == "args":
                assert stored.args == {}
            elif field.name not in given:
                assert getattr(stored, field.name) == getattr(plain, field.name), field.name
