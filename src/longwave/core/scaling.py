"""How many workers a group of queues should have. Values in, decision out; the clock is passed in.

Demand is counted in places: what runs takes one each, and what is ready takes as many as it needs to be through within
the wait that people accept, `ready × run_seconds / target_wait`, and one each at most. Up at once, to at most twice as
many at a time; down only after a calm period in which nothing needed more, and by a quarter at a time.
"""

import math
from dataclasses import dataclass, replace

SHRINK_BY = 4
"""A step down takes one worker in so many away, and at least one."""

SLACK = 0.1
"""So much of a worker is no reason for another one: a millisecond's job that happens to wait while all are busy."""

STEPS_IN_CALM = 4
"""Steps down are a quarter of the calm period apart: a mistake shows before the next one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator allows.

    target_wait: seconds that a job may wait. calm: seconds for which fewer workers must have been enough before there
    are fewer.
    """

    minimum: int
    maximum: int
    target_wait: float = 30.0
    calm: float = 180.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a group has to do now.

    ready: jobs that would begin if there were a free place; not those of a paused queue, before their time, behind
    another of their serial key, or beyond a sender's rate. limited: those left out for a sender's rate.
    running: places that are taken. run_seconds: how long one of the ready jobs runs. oldest_wait: of the ready ones.
    concurrency: places of one worker.
    """

    concurrency: int
    ready: int = 0
    running: int = 0
    oldest_wait: float = 0.0
    run_seconds: float = 0.0
    limited: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """What has to be known of before: how many there were to be, since when, and what was needed lately, and when."""

    desired: int
    changed_at: float
    needs: tuple[tuple[float, int], ...] = ()

    @classmethod
    def begin(cls, desired: int, now: float) -> "Memory":
        """Nothing is known: as many as there are were needed until now."""
        return cls(desired, now, ((now, desired),))


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there should be, and why, in words."""

    desired: int
    reason: str
    memory: Memory


def decide(load: Load, limits: Limits, memory: Memory, now: float) -> Decision:
    """Look at the load once. `now` is any clock that only goes forward, the same at every call."""
    needed, why = _needed(load, limits, memory.desired)
    allowed = min(max(needed, limits.minimum), limits.maximum)
    needs = _with_need(memory.needs, allowed, now, limits.calm)
    desired, rest = _step(allowed, max(need for _, need in needs), limits, memory, now)
    changed_at = memory.changed_at if desired == memory.desired else now
    reason = "; ".join(filter(None, [why, _at_a_limit(needed, desired, limits), rest, _left_out(load)]))
    return Decision(desired, reason, replace(memory, desired=desired, changed_at=changed_at, needs=needs))


def _needed(load: Load, limits: Limits, current: int) -> tuple[int, str]:
    """Workers that the load asks for, whatever is allowed, and the sum in words."""
    # However long a job runs, it takes one place and no more.
    places = load.running + load.ready * min(1.0, load.run_seconds / limits.target_wait)
    busy = math.ceil(load.running / load.concurrency)
    by_formula = max(busy, math.ceil(round(places / load.concurrency - SLACK, 6)))
    if load.ready and not current:
        by_formula = max(by_formula, 1)
    if by_formula <= current and _is_late(load, limits, current):
        waited = (
            f"all {_workers(current)} are busy, and the oldest ready job has waited {load.oldest_wait:.0f} s"
        )
        return current + 1, f"{waited}, more than {limits.target_wait:g} s: one more"
    return by_formula, _sum(load, limits, by_formula)


def _is_late(load: Load, limits: Limits, current: int) -> bool:
    """Whether jobs wait too long although every worker has something to do. Where one is idle, more would idle too."""
    return bool(load.ready) and (
        load.oldest_wait > limits.target_wait and load.running > (current - 1) * load.concurrency
    )


def _sum(load: Load, limits: Limits, needed: int) -> str:
    if not load.ready and not load.running:
        return "nothing runs or waits"
    parts = []
    if load.running:
        parts.append(f"{load.running} running")
    if load.ready:
        parts.append(f"{load.ready:,} ready of {_seconds(load.run_seconds)} each")
    within = f" to begin within {limits.target_wait:g} s" if load.ready else ""
    verb = "need" if load.ready + load.running > 1 else "needs"
    return f"{' and '.join(parts)} {verb} {_workers(needed)}{within}"


def _with_need(
    needs: tuple[tuple[float, int], ...], need: int, now: float, calm: float
) -> tuple[tuple[float, int], ...]:
    """The needs of the calm period, without those that a later and no smaller one makes pointless."""
    kept = [(at, number) for at, number in needs if at > now - calm and number > need]
    return (*kept, (now, need))


def _step(allowed: int, lately: int, limits: Limits, memory: Memory, now: float) -> tuple[int, str]:
    """From what there is towards what is needed, as far as one look may go; and why no farther."""
    current = memory.desired
    if allowed > current:
        most = max(current * 2, current + 1, limits.minimum)
        return (
            (allowed, "") if allowed <= most else (most, f"{most} at first: at most twice as many at a time")
        )
    if allowed == current:
        return current, ""
    if current > limits.maximum:
        return limits.maximum, ""
    fewest = max(lately, current - max(1, current // SHRINK_BY))
    pause = memory.changed_at + limits.calm / STEPS_IN_CALM - now
    if fewest >= current or pause > 0:
        return current, f"fewer would do, but not for {_seconds(limits.calm)} yet"
    return fewest, "" if fewest == allowed else f"{fewest} at first: fewer step by step"


def _at_a_limit(needed: int, desired: int, limits: Limits) -> str:
    if needed > limits.maximum and desired == limits.maximum:
        return f"{limits.maximum} is the maximum"
    if needed < limits.minimum and desired == limits.minimum:
        return f"{limits.minimum} is the minimum"
    return ""


def _left_out(load: Load) -> str:
    if not load.limited:
        return ""
    return f"{_jobs(load.limited)} more wait for a sender's rate, which workers do not raise"


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min"
