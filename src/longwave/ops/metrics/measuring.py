"""`--metrics`: where a worker or a beat counts what happens in it, and who serves that.

At an address of its own, or `shared`: in the data folder, from which the web process of this machine serves the
events of all together with the state.
"""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from longwave.config import Config
from longwave.core.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from longwave.ops.metrics.server import Server

log = structlog.get_logger("longwave.metrics")

SHARED = "shared"
OPTION = "--metrics"
SETTLE_EVERY = 60.0
"""Seconds between two looks for what dead children have counted; each scrape looks too."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int


def shared_folder(current: Config) -> Path:
    """Where the processes of this machine count together."""
    return _root(current) / SHARED


def _root(current: Config) -> Path:
    return current.home / "run" / "metrics"


def address_of(text: str, default_host: str) -> Address | None:
    """What was typed: `[HOST:]PORT`, or None for `shared`. Raises InvalidInput."""
    if text == SHARED:
        return None
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise InvalidInput(
            Problem(
                OPTION, text, "must be a port from 1 to 65535, an address such as 0.0.0.0:9101, or shared"
            )
        )
    return Address(host.strip("[]") or default_host, int(port))


def start(where: Address | None, current: Config, queues: Iterable[str] = ()) -> None:
    """Count from now on, for as long as this process and those it forks live. None: in the shared folder.

    queues: those whose jobs are run here. Before any module of the user's own is imported. Raises InvalidInput.
    """
    server = None if where is None else _listening(where)
    # Whoever listens on a port owns the folder that is named for it.
    folder = shared_folder(current) if where is None else _root(current) / str(where.port)
    _begin(folder, is_shared=server is None)
    _zero(queues)
    if server is not None:
        server.start(folder)
    threading.Thread(target=_settle, args=(folder,), name="metrics-settle", daemon=True).start()


def _listening(where: Address) -> "Server":
    from longwave.ops.metrics.server import Server

    try:
        return Server(where.host, where.port)
    except OSError as error:
        raise InvalidInput(_problem(where, error)) from error


def forget(current: Config) -> None:
    """Let the processes of this machine begin at 0, as far as none of them lives."""
    from longwave.ops.metrics import folder as counts

    try:
        counts.forget(shared_folder(current))
    except OSError as error:
        log.warning("metrics_not_forgotten", why=str(error))


def _begin(folder: Path, *, is_shared: bool) -> None:
    from longwave.ops.metrics import events
    from longwave.ops.metrics import folder as counts

    try:
        counts.prepare(folder, is_shared=is_shared)
    except OSError as error:
        remedy = (
            f"cannot be written to ({error.strerror}); {OPTION} counts there: set LONGWAVE_HOME to another"
        )
        raise InvalidInput(Problem("LONGWAVE_HOME", folder, remedy)) from error
    events.count_into(folder)


def _zero(queues: Iterable[str]) -> None:
    from longwave.jobs import rooms
    from longwave.ops.metrics import events

    rooms.load()
    events.begin_at_zero(queues)


def _settle(folder: Path) -> None:
    from longwave.ops.metrics import folder as counts

    pause = threading.Event()
    while not pause.wait(SETTLE_EVERY):
        try:
            counts.settle(folder)
        except OSError as error:
            log.warning("metrics_not_settled", why=str(error))


def _problem(where: Address, error: OSError) -> Problem:
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    remedy = f"cannot be listened on ({reason}); choose another address or port"
    return Problem(OPTION, f"{where.host}:{where.port}", remedy)
