import time

import pytest
from django.db import OperationalError, connection

from longwave.database import clock_us, is_passing


def test_the_database_clock_agrees_with_the_host_within_a_minute(database: str) -> None:
    assert abs(clock_us() / 1e6 - time.time()) < 60


def test_a_lost_connection_is_a_passing_error() -> None:
    assert is_passing(OperationalError("server closed the connection unexpectedly"))
    assert not is_passing(OperationalError("no such table: longwave_job"))


def test_a_full_disk_is_a_passing_error(sqlite: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what tests before it have deleted would be room for it
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OperationalError) as caught:
            cursor.execute("CREATE TABLE lw_filler AS SELECT randomblob(10000000)")
    assert "full" in str(caught.value)
    assert is_passing(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        'could not extend file "base/5/16384": No space left on device',
        "(1021, 'Disk full (/var/lib/mysql); waiting for someone to free some space...')",
        "(1114, \"The table 'longwave_job' is full\")",
    ],
)
def test_so_it_is_on_servers(said: str) -> None:
    assert is_passing(OperationalError(said))
