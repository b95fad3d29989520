"""`longwave worker` and `longwave beat`: what runs jobs, and what sweeps up after them."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from longwave import config
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import queues as queue_table

DEFAULT_CONCURRENCY = 2
AUTO = 0
"""For a concurrency: the machine says how many."""

POOLS = ("prefork", "threads", "solo")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Profile:
    """Queues that go together. low, high: how many jobs at a time; between them, as many as there are cores."""

    queues: tuple[str, ...]
    pool: str
    low: int
    high: int

    @property
    def is_sending(self) -> bool:
        """Whether lanes of campaigns run there, which wait more than they work."""
        return not set(queue_table.REGIONAL).isdisjoint(self.queues)


PROFILES = {
    "all": Profile(tuple(queue_table.PRIORITIES), "threads", 8, 8),
    "import": Profile(("import",), "prefork", 2, 4),
    "send": Profile(("campaigns", "broadcast", "email"), "threads", 20, 20),
    "files": Profile(
        (
            "file_processing",
            "data_validation",
            "llm_processing",
            "sheets_writing",
            "workflow-processing",
            "default",
        ),
        "prefork",
        2,
        4,
    ),
    "bots": Profile(
        ("telegram-callbacks", "telegram-commands", "telegram", "notifications"), "prefork", 2, 4
    ),
}
"""What `--profile` knows. The four beside `all` have all queues between them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker works on, and how."""

    queues: list[str]
    pool: str
    concurrency: int


def concurrency_of(text: str | int) -> int:
    """The number that was typed; AUTO for the word. Raises InvalidInput."""
    if text == "auto":
        return AUTO
    if not str(text).isdecimal() or int(text) < 1:
        raise InvalidInput(Problem("--concurrency", text, "must be a whole number from 1 on, or auto"))
    return int(text)


def worker(
    queues: Annotated[
        str, typer.Option("--queues", "-Q", help="Queues to work on, separated by commas; all unless given.")
    ] = "",
    profile: Annotated[
        str,
        typer.Option(
            help="Queues that go together, with the pool and concurrency for them: "
            + ", ".join(PROFILES)
            + "."
        ),
    ] = "",
    region: Annotated[
        list[str] | None,
        typer.Option(help="Send for senders of this region too; may be given several times."),
    ] = None,
    all_regions: Annotated[
        bool, typer.Option("--all-regions", help="Send for every region that senders are in as it starts.")
    ] = False,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            parser=concurrency_of,
            metavar="N|auto",
            help="How many jobs run at a time: 2 unless given; auto: as many as there are cores.",
        ),
    ] = None,
    pool: Annotated[str, typer.Option(help="prefork (processes, unless given), threads or solo.")] = "",
    name: Annotated[str, typer.Option(help="The worker's name, unique on this host.")] = "",
    loglevel: Annotated[str, typer.Option(help="What to log; LONGWAVE_LOG_LEVEL unless given.")] = "",
) -> None:
    """Run one worker until it is told to stop."""
    check_level(loglevel)
    plan = planned(profile=profile, queues=queues, pool=pool, concurrency=concurrency, cores=_cores())
    if (region or all_regions) and profile and not PROFILES[profile].is_sending:
        raise InvalidInput(
            Problem("--profile", profile, "sends nothing, and --region is for sending: take send or all")
        )
    chosen = [*plan.queues, *regional_queues(region or [], all_regions=all_regions)]
    from longwave.jobs import worker as jobs_worker  # brings Celery, which the other commands do without

    code = jobs_worker.start(
        chosen,
        concurrency=plan.concurrency,
        pool=plan.pool,
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


def planned(*, profile: str, queues: str, pool: str, concurrency: int | None, cores: int) -> Plan:
    """What these options mean together on a machine of so many cores. Raises InvalidInput for what cannot be."""
    if problems := list(_wrong(profile, queues, pool, concurrency)):
        raise InvalidInput(*problems)
    known = PROFILES.get(profile)
    way = pool or (known.pool if known else "prefork")
    if way == "solo":
        usual = 1
    elif known:
        usual = min(max(cores, known.low), known.high)
    else:
        usual = cores if concurrency == AUTO else DEFAULT_CONCURRENCY
    return Plan(list(known.queues) if known else chosen_queues(queues), way, concurrency or usual)


def _wrong(profile: str, queues: str, pool: str, concurrency: int | None) -> Iterator[Problem]:
    if profile and profile not in PROFILES:
        yield Problem("--profile", profile, "must be one of " + ", ".join(PROFILES))
    elif profile and pool == "prefork" and PROFILES[profile].is_sending:
        remedy = f"would send one lane a process; --profile {profile} takes threads: leave --pool out"
        yield Problem("--pool", pool, remedy)
    if profile and queues:
        yield Problem("--queues", queues, "are chosen by --profile: give one of the two")
    if pool and pool not in POOLS:
        yield Problem("--pool", pool, "must be prefork, threads or solo")
    if pool == "solo" and concurrency not in (None, 1):
        shown = "auto" if concurrency == AUTO else concurrency
        yield Problem("--concurrency", shown, "is not for --pool solo, which runs one job at a time")


def _cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


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
