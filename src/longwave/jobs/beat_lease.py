"""Which of several beat processes does the chores: a lease in SQL, taken over when it ran out."""

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from longwave.jobs.models import BeatLease


def hold(owner: str, seconds: float) -> bool:
    """Take or renew the lease; False while another beat has it."""
    until = Now() + timedelta(seconds=seconds)
    free_or_ours = Q(owner=owner) | ~_is_held(seconds)
    if BeatLease.objects.filter(free_or_ours, pk=1).update(owner=owner, until=until):
        return True
    if BeatLease.objects.filter(pk=1).exists():
        return False
    try:
        with transaction.atomic():
            BeatLease.objects.create(pk=1, owner=owner, until=until)
    except IntegrityError:
        return False
    return True


def is_held(seconds: float) -> bool:
    """Whether a beat that takes the lease for so long has shown itself within that time."""
    return BeatLease.objects.filter(_is_held(seconds)).exists()


def holder(seconds: float) -> str | None:
    """The beat that `is_held` is about, as host:pid and more; None while there is none."""
    return BeatLease.objects.filter(_is_held(seconds)).values_list("owner", flat=True).first()


def release(owner: str) -> None:
    """Let another beat take over at once."""
    BeatLease.objects.filter(pk=1, owner=owner).delete()


def _is_held(seconds: float) -> Q:
    # Further ahead than any beat takes it: the clock was set back since, and whoever had it may be dead.
    absurd = Now() + timedelta(seconds=2 * seconds)
    return Q(until__gte=Now(), until__lte=absurd)
