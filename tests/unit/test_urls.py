"""The pages of the web process that load balancers ask."""

import logging

import pytest
from django.db import OperationalError, connection
from django.test import Client


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_health_is_the_database_s(path: str, sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Client().get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "database": "sqlite"})

    def fail() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "cursor", fail)
    answer = Client().get(path)
    assert (answer.status_code, answer.json()["error"]) == (503, "The database does not answer.")


def test_a_database_that_is_away_is_no_traceback_at_each_question(
    sqlite: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "cursor", fail)
    with caplog.at_level(logging.INFO):
        Client(raise_request_exception=False).get("/healthz")
    assert not any(record.exc_info for record in caplog.records)
