import time

from django.db import OperationalError

from longwave.database import clock_us, is_passing


def test_the_database_clock_agrees_with_the_host_within_a_minute(database: str) -> None:
    assert abs(clock_us() / 1e6 - time.time()) < 60


def test_a_lost_connection_is_a_passing_error() -> None:
    assert is_passing(OperationalError("server closed the connection unexpectedly"))
    assert not is_passing(OperationalError("no such table: longwave_job"))
