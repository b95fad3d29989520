"""Look after look, also while the database is away."""

import threading

import structlog.testing
from django.db import OperationalError

from longwave.ops.scaling import steering
from longwave.ops.scaling.deciding import Decider, Look


class Restless(Decider):
    """Decides nothing; meets these errors on the way, and then the end."""

    def __init__(self, stop: threading.Event, *errors: Exception) -> None:
        super().__init__([], "host:1", every=0.0)
        self._stop, self._errors = stop, list(errors)

    def turn(self) -> list[Look]:
        if self._errors:
            raise self._errors.pop(0)
        self._stop.set()
        return super().turn()


def steered(*errors: Exception) -> tuple[list[str], int]:
    """What was logged, and how often something was done, until all went well."""
    stop, acted = threading.Event(), []
    with structlog.testing.capture_logs() as lines:
        steering.steer(Restless(stop, *errors), stop, acted.append)
    return [line["event"] for line in lines], len(acted)


def test_a_database_that_is_away_changes_nothing_and_is_said_once(sqlite: str) -> None:
    away = [OperationalError("connection refused")] * 3
    assert steered(*away) == (["database_away", "database_back"], 1)


def test_whatever_else_goes_wrong_is_said_and_the_next_look_is_taken(sqlite: str) -> None:
    assert steered(RuntimeError("a bug")) == (["autoscaling_failed"], 1)
