"""`@chore`: what the beat process does again and again, by itself and never through the broker."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chore:
    """A function without arguments, run about every `every` seconds by the one beat that holds the lease.

    first_after: seconds from the beat's start to the first time.
    """

    name: str
    every: float
    function: Callable[[], object]
    first_after: float = 0.0


_registry: dict[str, Chore] = {}


def chore(
    *, every: float, first_after: float = 0.0
) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Register a function as a chore: short, and right also when two beats run it or one dies in it."""
    if every <= 0:
        raise ValueError(f"a chore's period must be positive, not {every}")

    def register(function: Callable[[], object]) -> Callable[[], object]:
        name = f"{function.__module__}.{function.__qualname__}"
        _registry[name] = Chore(name, every, function, first_after)
        return function

    return register


def registered() -> list[Chore]:
    """Every chore of the modules imported so far, in the order they were registered."""
    return list(_registry.values())


def find(name: str) -> list[Chore]:
    """The chores of that name, or of that last part of it: `prune` for `longwave.jobs.prune.prune`."""
    return [one for one in _registry.values() if one.name == name or one.name.endswith(f".{name}")]
