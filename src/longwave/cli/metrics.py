"""`--metrics`, which every process has that runs jobs or ends them."""

from collections.abc import Iterable
from typing import Annotated

import typer

from longwave import config
from longwave.ops.metrics import measuring

Metrics = Annotated[
    str,
    typer.Option(
        measuring.OPTION,
        metavar="[HOST:]PORT|shared",
        help="Serve figures for Prometheus at this address, or let the web process of this machine do it.",
    ),
]


def measure(metrics: str, queues: Iterable[str] = ()) -> None:
    """Do what was asked for; nothing for an empty text. Raises InvalidInput."""
    if metrics:
        current = config.current()
        measuring.start(measuring.address_of(metrics, current.host), current, queues)
