"""The job that is measured: it does nothing, so that what remains is what a job costs."""

from longwave.jobs import job


@job("bench.nothing", queue="default")
def nothing(number: int) -> None:
    """Do nothing."""
