"""`longwave worker` and `longwave beat`: what runs jobs, and what sweeps up after them."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from longwave import config, logs
from longwave.cli.metrics import Metrics, measure
from longwave.core.alarm import Alarm
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs import memory, stop
from longwave.jobs import queues as queue_table
from longwave.jobs.profiles import PROFILES, cores

DEFAULT_CONCURRENCY = 2
AUTO = 0
"""For a concurrency: the machine says how many."""

POOLS = ("prefork", "threads")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

Regions = Annotated[
    list[str] | None,
    typer.Option("--region", help="Send for senders of this region too; may be given several times."),
]
AllRegions = Annotated[
    bool, typer.Option("--all-regions", help="Send for every region that senders are in as it starts.")
]


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many jobs run at a time: AUTO or a number. least: processes that stay without work; None: all of them."""

    most: int
    least: int | None = None

    def __str__(self) -> str:
        most = "auto" if self.most == AUTO else str(self.most)
        return most if self.least is None else f"{self.least}-{most}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker works on, and how. least: processes that stay when there is nothing to do; None: all of them."""

    queues: list[str]
    pool: str
    concurrency: int
    least: int | None = None


def concurrency_of(text: object) -> Concurrency:
    """`4`, `auto`, or `1-4` and `1-auto` for processes that come and go. Raises InvalidInput."""
    least, dash, most = str(text).rpartition("-")
    wanted = Concurrency(_number(text, most, or_auto=True), _number(text, least) if dash else None)
    if wanted.least is not None and AUTO < wanted.most < wanted.least:
        raise InvalidInput(Problem("--concurrency", text, f"the fewest come first: {most}-{least}"))
    return wanted


def _number(whole: object, text: str, *, or_auto: bool = False) -> int:
    if or_auto and text == "auto":
        return AUTO
    if not text.isdecimal() or int(text) < 1:
        raise InvalidInput(
            Problem("--concurrency", whole, "must be a whole number from 1 on, two such as 1-4, or auto")
        )
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
    region: Regions = None,
    all_regions: AllRegions = False,
    concurrency: Annotated[
        Concurrency | None,
        typer.Option(
            "--concurrency",
            "-c",
            parser=concurrency_of,
            metavar="[LEAST-]N|auto",
            help="How many jobs run at a time: 2 unless given; auto: as many as there are cores. "
            "1-4: four, in processes that are started when they are needed, and end when they are not.",
        ),
    ] = None,
    pool: Annotated[str, typer.Option(help="prefork (processes, unless given) or threads.")] = "",
    name: Annotated[str, typer.Option(help="The worker's name, unique on this host.")] = "",
    loglevel: Annotated[str, typer.Option(help="What to log; LONGWAVE_LOG_LEVEL unless given.")] = "",
    grace: Annotated[
        float,
        typer.Option(min=0, help="Seconds that running jobs have to end when the worker is told to stop."),
    ] = stop.GRACE,
    max_memory: Annotated[
        int,
        typer.Option(min=0, help="MB beyond which a process that runs jobs is replaced; 0: never."),
    ] = memory.DEFAULT,
    metrics: Metrics = "",
) -> None:
    """Run one worker until it is told to stop: twice, at once."""
    current = config.current()
    check_level(loglevel)
    plan = planned(profile=profile, queues=queues, pool=pool, concurrency=concurrency, cores=cores())
    if (region or all_regions) and profile and not PROFILES[profile].is_sending:
        raise InvalidInput(
            Problem("--profile", profile, "sends nothing, and --region is for sending: take send or all")
        )
    full_name = f"{name or f'worker{os.getpid()}'}@{socket.gethostname()}"
    logs.keep(current.log_dir, "worker", current.log_format, worker=full_name)
    chosen = [*plan.queues, *regional_queues(region or [], all_regions=all_regions)]
    measure(metrics, chosen)
    from longwave.jobs import worker as jobs_worker  # brings Celery, which the other commands do without
    from longwave.ops import returning

    code = jobs_worker.start(
        jobs_worker.Work(chosen, plan.pool, plan.concurrency, plan.least, grace, max_memory),
        name=full_name,
        loglevel=loglevel.upper() or current.log_level,
        hand_over=returning.hand_over,
    )
    sys.exit(code)


def beat(metrics: Metrics = "") -> None:
    """Run the beat until it is told to stop. Several may run: one works, the others wait to take over."""
    from longwave.jobs import beat as jobs_beat
    from longwave.jobs import rooms

    current = config.current()
    logs.keep(current.log_dir, "beat", current.log_format)
    measure(metrics)
    rooms.load()
    told = Alarm()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    jobs_beat.run(told)


def planned(*, profile: str, queues: str, pool: str, concurrency: Concurrency | None, cores: int) -> Plan:
    """What these options mean together on a machine of so many cores. Raises InvalidInput for what cannot be."""
    if problems := list(_wrong(profile, queues, pool)):
        raise InvalidInput(*problems)
    known = PROFILES.get(profile)
    way = pool or (known.pool if known else "prefork")
    usual = known.concurrency_on(cores) if known else cores if concurrency else DEFAULT_CONCURRENCY
    wanted = concurrency or Concurrency(usual)
    if wanted.least is not None and way != "prefork":
        remedy = "is for processes, and threads cost nothing while they wait: give one number"
        raise InvalidInput(Problem("--concurrency", str(wanted), remedy))
    most = wanted.most or usual
    least = None if wanted.least is None else min(wanted.least, most)
    return Plan(list(known.queues) if known else chosen_queues(queues), way, most, least)


def _wrong(profile: str, queues: str, pool: str) -> Iterator[Problem]:
    if profile and profile not in PROFILES:
        yield Problem("--profile", profile, "must be one of " + ", ".join(PROFILES))
    elif profile and pool == "prefork" and PROFILES[profile].is_sending:
        remedy = f"would send one lane a process; --profile {profile} takes threads: leave --pool out"
        yield Problem("--pool", pool, remedy)
    if profile and queues:
        yield Problem("--queues", queues, "are chosen by --profile: give one of the two")
    if pool and pool not in POOLS:
        yield Problem("--pool", pool, "must be prefork or threads")


def chosen_queues(text: str) -> list[str]:
    """The queues of a comma-separated list; all when it is empty. Raises InvalidInput for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if not queue_table.is_known(name)]
    if unknown:
        raise InvalidInput(*(queue_table.refusal("--queues", name) for name in unknown))
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
