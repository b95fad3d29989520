"""Chores of operating."""

from longwave.jobs.chores import chore
from longwave.ops.scaling import published


@chore(every=15.0)
def autoscale_tick() -> None:
    """Say when nobody decides any more how many workers there should be. The deciding is `longwave autoscale`'s."""
    published.miss_silent()


@chore(every=3600.0, first_after=600.0)
def forget_scaling() -> None:
    """Forget old decisions about the number of workers, and groups that nobody decides for any more."""
    published.forget_old()
