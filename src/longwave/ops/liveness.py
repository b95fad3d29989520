"""Whether anything is running that would do the work."""

from django.db.models.functions import Now

from longwave.jobs.models import BeatLease


def is_anything_running() -> bool:
    """Whether a beat has shown itself lately: it runs wherever Longwave does, once."""
    return BeatLease.objects.filter(until__gt=Now()).exists()
