"""A job that submits itself every second, for tests of the beat."""

from longwave.jobs import job, schedule


@schedule(every=1, catch_up="all")
@job("room.ticked")
def ticked() -> None:
    """Nothing: that it was submitted is what counts."""
