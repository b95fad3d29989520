"""The job of the spike: it waits a second, as one does that asks a language model or another server."""

import time

from longwave.jobs import job


@job("bench.second", queue="default")
def second(number: int) -> None:
    """Take a second."""
    time.sleep(1)
