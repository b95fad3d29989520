"""Whether anything is running that would do the work."""

from longwave.jobs import beat, beat_lease


def is_anything_running() -> bool:
    """Whether a beat has shown itself lately: it runs wherever Longwave does, once."""
    return beat_lease.is_held(beat.LEASE)
