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
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def worker(
    queues: Annotated[
        str, typer.Option("--queues", "-Q", help="Queues to work on, separated by commas; all unless given.")
    ] = "",
    region: Annotated[
        list[str] | None,
        typer.Option(help="Send for senders of this region too; may be given several times."),
    ] = None,
    all_regions: Annotated[
        bool, typer.Option("--all-regions", help="Send for every region that senders are in as it starts.")
    ] = False,
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
    check_level(loglevel)
    chosen = [*chosen_queues(queues), *regional_queues(region or [], all_regions=all_regions)]
    from longwave.jobs import worker as jobs_worker  # brings Celery, which the other commands do without

    code = jobs_worker.start(
        chosen,
        concurrency=concurrency,
        pool=pool,
        name=f"{name or f'worker{os.getpid()}'}@{socket.gethostname()}",
        loglevel=loglevel.upper() or config.current().log_level,
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


def regional_queues(regions: list[str], *, all_regions: bool) -> list[str]:
    """The queues of sending in these regions, or in all that senders are in. Raises InvalidInput."""
    wrong = [region for region in regions if not queue_table.is_region(region)]
    if wrong:
        remedy = "must be 1 to 32 small letters, digits and dashes, such as eu or us-east"
        raise InvalidInput(*(Problem("--region", region, remedy) for region in wrong))
    if all_regions:
        from longwave.senders import senders  # the database is asked only when somebody wants to know

        regions = [*regions, *senders.regions()]
    return queue_table.of_regions(dict.fromkeys(regions))


def check_level(level: str) -> None:
    """Raise InvalidInput for a level of logging that there is not."""
    if level and level.upper() not in LEVELS:
        raise InvalidInput(Problem("--loglevel", level, "must be one of " + ", ".join(LEVELS)))
