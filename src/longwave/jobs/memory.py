"""Processes that grew too large are replaced after what they ran: a leak in a job must not take the machine along.

A child of the prefork pool is replaced by itself, within seconds; Celery looks at its peak after each message.
Where jobs run in the worker's own process, the whole worker begins anew.
"""

import resource
import sys

import psutil

DEFAULT = 512
"""MB. Four times what our own jobs need, one message or a million; above it something was not given back."""

EARLIEST = 300.0
"""Seconds that a whole worker lives at least: jobs that are that large must not keep it beginning anew."""

MB = 1024**2


def is_due(used: float, limit: int, age: float) -> bool:
    """Whether a worker of that many MB, and so many seconds old, is to begin anew. limit: 0 for none."""
    return 0 < limit < used and age >= EARLIEST


def used_mb() -> float:
    """What this process holds now."""
    return float(psutil.Process().memory_info().rss) / MB


def peak_mb() -> float:
    """The most that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak / 1024
