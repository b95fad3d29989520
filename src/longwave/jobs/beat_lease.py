"""Which of several beat processes does the chores: a lease in SQL, taken over when it ran out."""

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from longwave.jobs.models import BeatLease


def hold(owner: str, seconds: float) -> bool:
    """Take or renew the lease; False while another beat has it."""
    until = Now() + timedelta(seconds=seconds)
    free_or_ours = Q(owner=owner) | Q(until__lt=Now())
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


def release(owner: str) -> None:
    """Let another beat take over at once."""
    BeatLease.objects.filter(pk=1, owner=owner).delete()
