"""The numbers as everybody may read them: other scalers, Prometheus, people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from longwave.core.errors import NotFound
from longwave.ops.models import Scaling, ScalingDecision

log = structlog.get_logger("longwave.autoscale")

STALE_AFTER = 60.0
"""Seconds after which a number that nobody has looked at again should not be trusted."""

KEEP = timedelta(days=30)
"""How long decisions are kept."""

IS_OVER = Q(owner="", lease_until=None)
"""Whoever decided for the group has left in order, and nobody has taken over."""

ABANDONED = timedelta(days=1)
"""How long groups are kept that nobody looks at any more: for so long they are shown, and alerted of, as stale."""


@dataclass(frozen=True, slots=True)
class Published:
    """A group as it was looked at last.

    at: when, as ISO 8601; is_stale: that is too long ago. is_over: whoever decided was ended on purpose, and nobody has
    taken over. min, max: what was allowed. run_seconds: of one ready job. limited: jobs that wait for a sender's rate,
    and are not in `ready`.
    """

    group: str
    desired: int
    min: int
    max: int
    reason: str
    at: str | None
    is_stale: bool
    is_over: bool
    ready: int
    running: int
    limited: int
    oldest_wait: float
    run_seconds: float


def groups() -> list[Published]:
    """Every group that somebody has looked at in the last day, by name, but none that ended on purpose a while ago."""
    return [_published(row) for row in _rows().order_by("group")]


def find(group: str) -> Published:
    """One group. Raises NotFound."""
    row = _rows().filter(group=group).first()
    if row is None:
        raise NotFound(
            f"There is no number for a group {group!r}: start `longwave autoscale --group {group}`."
        )
    return _published(row)


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that changed how many workers there should be. at: as ISO 8601."""

    group: str
    at: str
    before: int
    desired: int
    reason: str


def history(names: Sequence[str], limit: int) -> list[Change]:
    """The latest changes of these groups, the newest first."""
    rows = ScalingDecision.objects.filter(group__in=names).order_by("-at", "-pk")[:limit]
    return [
        Change(row.group, row.at.isoformat(timespec="seconds"), row.before, row.desired, row.reason)
        for row in rows
    ]


def _rows() -> "QuerySet[Any]":
    """With the database's own time: whoever reads may be on a machine whose clock is wrong.

    A number whose decider was ended on purpose stays while it is fresh: the next one may be about to begin.
    """
    is_fresh = Q(at__gte=Now() - timedelta(seconds=STALE_AFTER))
    return Scaling.objects.annotate(now=Now()).filter(~IS_OVER | is_fresh)


def _published(row: Any) -> Published:
    age = None if row.at is None else (row.now - row.at).total_seconds()
    return Published(
        group=row.group,
        desired=row.desired,
        min=row.minimum,
        max=row.maximum,
        reason=row.reason,
        at=None if row.at is None else row.at.isoformat(timespec="seconds"),
        is_stale=age is None or age > STALE_AFTER,
        is_over=row.owner == "" and row.lease_until is None,
        ready=row.ready,
        running=row.running,
        limited=row.limited,
        oldest_wait=round(row.oldest_wait, 1),
        run_seconds=round(row.run_seconds, 3),
    )


def miss_silent() -> list[str]:
    """Say once of each group that whoever decides for it has fallen silent; which they are."""
    silent = Scaling.objects.exclude(owner="").filter(lease_until__lt=Now() - timedelta(seconds=STALE_AFTER))
    missed = []
    for row in silent:
        if silent.filter(group=row.group, owner=row.owner).update(owner=""):
            log.warning("autoscaler_silent", group=row.group, decided_by=row.owner, last_look=str(row.at))
            missed.append(row.group)
    return missed


def forget_old() -> int:
    """Delete decisions that are old, and groups that nobody looks at any more; how many."""
    decisions, _ = ScalingDecision.objects.filter(at__lt=Now() - KEEP).delete()
    abandoned, _ = Scaling.objects.filter(owner="", at__lt=Now() - ABANDONED).delete()
    return decisions + abandoned
