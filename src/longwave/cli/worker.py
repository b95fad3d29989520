"""`longwave worker` and `longwave beat`: what runs jobs, and what sweeps up after them."""

import os
import signal
import socket
import sys
import threading
from typing import Annotated

import typer

from longwave import config
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import queues as queue_table

DEFAULT_CONCURRENCY = 2


def worker(
    queues: Annotated[
        str, typer.Option("--queues", "-Q", help="Queues to work on, separated by commas; all unless given.")
    ] = "",
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="How many jobs run at a time.")
    ] = DEFAULT_CONCURRENCY,
    pool: Annotated[str, typer.Option(help="prefork (processes), threads or solo.")] = "prefork",
    name: Annotated[str, typer.Option(help="The worker's name, unique on this host.")] = "",
    loglevel: Annotated[str, typer.Option(help="What to log; LONGWAVE_LOG_LEVEL unless given.")] = "",
) -> None:
    """Run one worker until it is told to stop."""
    if pool not in ("prefork", "threads", "solo"):
        raise InvalidInput(Problem("--pool", pool, "must be prefork, threads or solo"))
    chosen = chosen_queues(queues)
    from longwave.jobs import worker as jobs_worker  # brings Celery, which the other commands do without

    code = jobs_worker.start(
        chosen,
        concurrency=concurrency,
        pool=pool,
        name=f"{name or f'worker{os.getpid()}'}@{socket.gethostname()}",
        loglevel=loglevel or config.current().log_level,
    )
    sys.exit(code)


def beat() -> None:
    """Run the beat until it is told to stop. Several may run: one works, the others wait to take over."""
    from longwave.jobs import beat as jobs_beat
    from longwave.jobs import rooms

    rooms.load()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    jobs_beat.run(stop)


def chosen_queues(text: str) -> list[str]:
    """The queues of a comma-separated list; all when it is empty. Raises InvalidInput for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if not queue_table.is_known(name)]
    if unknown:
        known = ", ".join(queue_table.PRIORITIES)
        raise InvalidInput(
            *(
                Problem("--queues", name, f"must be one of {known}, or a region such as email.eu")
                for name in unknown
            )
        )
    return names or list(queue_table.PRIORITIES)
