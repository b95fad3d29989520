"""What is measured, declared: a name, its labels, and a sentence that says what the number means."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]

OTHER = "other"
"""The value of a label for everything beyond its bound."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric. Every label has few values: those of an enum, of a table in the code, or a bounded number.

    name: as in queries; a counter's ends in `_total`. buckets: upper bounds, of a histogram.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Kind = "gauge"
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of a figure for these values of its labels, in their order."""

    figure: Figure
    value: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Figures that are read together.

    every: 0 for what is read at each scrape. Otherwise it is slow: seconds between two readings in a thread of its own.
    """

    name: str
    figures: tuple[Figure, ...]
    read: Callable[[], Iterable[Reading]]
    every: float = 0.0
