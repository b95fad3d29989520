"""The page that Prometheus reads: all parts of the state, and the events of this machine's workers.

A part that cannot be read is left out and counted; the page as a whole never fails.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import structlog
from django.db import DatabaseError, InterfaceError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from longwave import __version__
from longwave.ops.metrics import folder as counts
from longwave.ops.metrics.beside import Beside
from longwave.ops.metrics.figures import Figure, Part, Reading
from longwave.ops.metrics.state import PARTS

log = structlog.get_logger("longwave.metrics")

INFO = Figure("longwave_info", "Always 1; the label says which version answers", ("version",))
ERRORS = Figure(
    "longwave_scrape_errors_total",
    "How often a part of this page could not be read, and was left out",
    ("part",),
    kind="counter",
)
OWN = (INFO, ERRORS)

EVENTS = "events"
"""The part that is counted, not read from the ledger."""

_errors: Counter[str] = Counter()
_failing: set[str] = set()
_beside: dict[str, Beside] = {}


def render(accept: str, parts: Sequence[Part] = PARTS, folder: Path | None = None) -> tuple[bytes, str]:
    """The page in the format that is asked for, and its content type. folder: where events are counted."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Page(parts, folder))
    return encode(registry), content_type


class _Page(Collector):
    def __init__(self, parts: Sequence[Part], folder: Path | None) -> None:
        self._parts, self._folder = parts, folder

    def collect(self) -> Iterator[Metric]:
        readings = [Reading(INFO, 1, (__version__,)), *_read_all(self._parts)]
        events = [] if self._folder is None else _read_events(self._folder)
        names = [*(part.name for part in self._parts), *(() if self._folder is None else (EVENTS,))]
        failed = [Reading(ERRORS, _errors[name], (name,)) for name in names]
        yield from families([*readings, *failed])
        yield from events


def families(readings: Iterable[Reading]) -> Iterator[Metric]:
    """The readings as what prometheus_client writes, those of a figure together."""
    found: dict[Figure, GaugeMetricFamily | CounterMetricFamily] = {}
    for reading in readings:
        figure = reading.figure
        if figure not in found:
            make = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            found[figure] = make(figure.name, figure.help + ".", labels=figure.labels)
        found[figure].add_metric(reading.labels, reading.value)
    yield from found.values()


def _read_events(folder: Path) -> list[Metric]:
    try:
        found = counts.read(folder)
    except FileNotFoundError:
        return []  # nobody has counted here yet
    except Exception as error:
        _failed(EVENTS, error)
        return []
    _failing.discard(EVENTS)
    return found


def _read_all(parts: Sequence[Part]) -> Iterator[Reading]:
    is_database_away = False
    for part in parts:
        if is_database_away:
            _errors[part.name] += 1  # not asked: each would wait for the database as long as the first
            continue
        try:
            found = list(_read(part))
        except Exception as error:
            is_database_away = isinstance(error, DatabaseError | InterfaceError)
            _failed(part.name, error)
        else:
            _failing.discard(part.name)
            yield from found


def _read(part: Part) -> Iterable[Reading]:
    if not part.every:
        return part.read()
    return _beside.setdefault(part.name, Beside(part)).read()


def _failed(part: str, error: Exception) -> None:
    _errors[part] += 1
    if part not in _failing:  # one line an outage, not one a scrape
        _failing.add(part)
        log.warning("metrics_left_out", part=part, why=str(error))
