"""Looking again and again at the groups that this process has the lease of, and writing down what should be."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from longwave.core.scaling import Decision, Load, Memory, decide
from longwave.ops.models import Scaling, ScalingDecision
from longwave.ops.scaling.load import Group, Meter

log = structlog.get_logger("longwave.autoscale")

LEASE = 15.0
"""Seconds after which another process may decide for a group whose own was not heard of; three looks, where those are
rare."""

BUSY_SHARE = 10
"""A look may take one part in so many of the time, however much there is to look at."""

MAX_PAUSE = 20.0
"""Seconds between two looks at most, where each takes long: the number must not get stale."""

LONGEST_LEASE = 3 * MAX_PAUSE
"""Seconds of a lease where looks take long; only a longer `every` makes it longer."""


@dataclass(frozen=True, slots=True)
class Look:
    """One group, looked at once. before: how many workers there were to be until now."""

    group: Group
    load: Load
    before: int
    decision: Decision

    @property
    def is_change(self) -> bool:
        """Whether there should be another number of workers than before."""
        return self.decision.desired != self.before


class Decider:
    """Decides for groups of queues, while it has their leases. owner: unique among all processes.

    leaving: how many workers of a group take nothing new and have not ended yet; none where others run the workers.
    pause: seconds until the next look is to be taken, `every` unless looking takes long.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        owner: str,
        *,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        leaving: Callable[[Group], int] = lambda _: 0,
    ) -> None:
        self.pause = self._every = every
        self._groups = groups
        self._owner = owner
        self._clock = clock
        self._leaving = leaving
        self._meter = Meter()
        self._memories: dict[str, Memory] = {}
        self._is_waiting: set[str] = set()

    def turn(self) -> list[Look]:
        """Look at the groups that are ours, and write down what was decided. The others are not in the answer."""
        began = self._clock()
        ours = [group for group in self._groups if self._holds(group)]
        loads = self._meter.measure(ours) if ours else {}
        self.pause = self._pause_after(self._clock() - began)
        looks = [self._look(group, loads[group.name]) for group in ours]
        return [look for look in looks if self._write(look)]

    def leave(self) -> None:
        """Let another decide at once."""
        names = [group.name for group in self._groups]
        Scaling.objects.filter(group__in=names, owner=self._owner).update(owner="", lease_until=None)

    def _pause_after(self, took: float) -> float:
        return max(self._every, min(MAX_PAUSE, BUSY_SHARE * took))

    @property
    def _lease(self) -> float:
        return max(LEASE, 3 * self.pause)

    def _look(self, group: Group, load: Load) -> Look:
        memory = self._memories[group.name]
        decision = decide(load, group.limits, memory, self._clock())
        if leaving := self._leaving(group):
            verb = "is" if leaving == 1 else "are"
            decision = replace(decision, reason=f"{decision.reason}; {leaving} {verb} still leaving")
        return Look(group, load, memory.desired, decision)

    def _write(self, look: Look) -> bool:
        """Whether the group was still ours. Otherwise nothing was written, and nothing is to be done."""
        with transaction.atomic():
            mine = Scaling.objects.filter(group=look.group.name, owner=self._owner)
            until = Now() + timedelta(seconds=self._lease)
            if not mine.update(at=Now(), lease_until=until, **_fields(look)):
                self._memories.pop(look.group.name, None)
                return False
            if look.is_change:
                _remember(look)
        self._memories[look.group.name] = look.decision.memory
        if look.is_change:
            now, why = look.decision.desired, look.decision.reason
            log.info("scaled", group=look.group.name, before=look.before, desired=now, reason=why)
        return True

    def _holds(self, group: Group) -> bool:
        holds = hold(group, self._owner, self._lease)
        if not holds:
            self._memories.pop(group.name, None)
            if group.name not in self._is_waiting:
                log.info("autoscaler_waits", group=group.name, decided_by=_owner_of(group.name))
                self._is_waiting.add(group.name)
        elif group.name not in self._memories:
            self._is_waiting.discard(group.name)
            self._memories[group.name] = Memory.begin(current(group), self._clock())
            log.info("autoscaler_leads", group=group.name)
        return holds


def look_once(groups: Sequence[Group]) -> list[Look]:
    """What would be decided now. Nothing is written."""
    loads, found = Meter().measure(groups), []
    for group in groups:
        before = current(group)
        decision = decide(loads[group.name], group.limits, Memory.begin(before, 0.0), 0.0)
        found.append(Look(group, loads[group.name], before, decision))
    return found


def hold(group: Group, owner: str, seconds: float) -> bool:
    """Take or renew the lease on a group; False while another has it."""
    until = Now() + timedelta(seconds=seconds)
    # Further ahead than it is taken, unless somebody else's looks are set to be rarer than ours: the clock was set back
    # since, and whoever had it may be dead.
    is_absurd = Q(lease_until__gt=Now() + timedelta(seconds=max(seconds, LONGEST_LEASE) + LEASE))
    free_or_ours = Q(owner__in=("", owner)) | Q(lease_until__lt=Now()) | is_absurd
    if Scaling.objects.filter(free_or_ours, group=group.name).update(owner=owner, lease_until=until):
        return True
    if Scaling.objects.filter(group=group.name).exists():
        return False
    limits = group.limits
    fields: dict[str, Any] = {"minimum": limits.minimum, "maximum": limits.maximum, "desired": limits.minimum}
    try:
        with transaction.atomic():
            Scaling.objects.create(group=group.name, owner=owner, lease_until=until, **fields)
    except IntegrityError:
        return False
    return True


def current(group: Group) -> int:
    """How many workers there are to be until now: as was decided lately, or the fewest."""
    lately = Now() - timedelta(seconds=max(group.limits.calm, LEASE))
    row = Scaling.objects.filter(group=group.name, at__gte=lately).first()
    return group.limits.minimum if row is None else row.desired


def _owner_of(group: str) -> str:
    return Scaling.objects.filter(group=group).values_list("owner", flat=True).first() or ""


def _remember(look: Look) -> None:
    ScalingDecision.objects.create(
        group=look.group.name,
        at=Now(),
        before=look.before,
        desired=look.decision.desired,
        reason=look.decision.reason,
    )


def _fields(look: Look) -> dict[str, Any]:
    load, limits = look.load, look.group.limits
    return {
        "desired": look.decision.desired,
        "reason": look.decision.reason,
        "minimum": limits.minimum,
        "maximum": limits.maximum,
        "target_wait": limits.target_wait,
        "concurrency": load.concurrency,
        "ready": load.ready,
        "running": load.running,
        "limited": load.limited,
        "oldest_wait": load.oldest_wait,
        "run_seconds": load.run_seconds,
    }
