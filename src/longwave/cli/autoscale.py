"""`longwave autoscale`: as many workers as the work needs, started and stopped here, or told to another scaler."""

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import structlog
import typer

from longwave import config, logs
from longwave.cli import tables, words
from longwave.cli.children import COUNTED, command, modules_check, return_work
from longwave.cli.worker import AllRegions, Regions, regional_queues
from longwave.config import Config
from longwave.core.alarm import Alarm
from longwave.core.errors import InvalidInput, Problem
from longwave.core.scaling import Limits
from longwave.jobs import profiles
from longwave.jobs.profiles import PROFILES
from longwave.ops import lock
from longwave.ops.output import Output
from longwave.ops.scaling import deciding, keeping, pool, published, steering
from longwave.ops.scaling.deciding import Look
from longwave.ops.scaling.load import Group
from longwave.ops.scaling.published import Change
from longwave.ops.supervisor import Child, Supervisor

T = TypeVar("T", int, float)

ALL = "all"
MINIMUM, MAXIMUM = 1, 4
TARGET_WAIT = 30.0
COOL_DOWN = 180.0
EVERY = 5.0
DAY = 86_400
MOST_WORKERS = 1_000

SHOWN = 20
"""Changes that `--history` shows."""

GRACE = 1800
"""Seconds that a worker which is not needed any more has to finish what it runs: no job runs longer."""

HURRY_AFTER = 4.0
STOP_WITHIN = (8.0, 8.5, 9.3)
"""Seconds after Ctrl-C at which workers are told to give back what still runs, and at which they are killed."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything that was asked for, in words of the options. Each of the lists may name groups: `files=8`."""

    groups: Sequence[str] = ()
    minimum: Sequence[str] = ()
    maximum: Sequence[str] = ()
    target_wait: Sequence[str] = ()
    concurrency: Sequence[str] = ()
    cool_down: float = COOL_DOWN
    regional: Sequence[str] = ()


def autoscale(
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="Groups to scale, which are the profiles of workers: import, send, files, bots, all."
        ),
    ] = None,
    minimum: Annotated[
        list[str] | None, typer.Option("--min", metavar="[GROUP=]N", help="Fewest workers; 1 unless given.")
    ] = None,
    maximum: Annotated[
        list[str] | None, typer.Option("--max", metavar="[GROUP=]N", help="Most workers; 4 unless given.")
    ] = None,
    target_wait: Annotated[
        list[str] | None,
        typer.Option(metavar="[GROUP=]SECONDS", help="How long a job may wait; 30 unless given."),
    ] = None,
    concurrency: Annotated[
        list[str] | None,
        typer.Option("--concurrency", "-c", metavar="[GROUP=]N", help="Jobs that one worker runs at a time."),
    ] = None,
    cool_down: Annotated[
        float, typer.Option(min=0, help="Seconds for which fewer must have been enough.")
    ] = COOL_DOWN,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = EVERY,
    region: Regions = None,
    all_regions: AllRegions = False,
    publish_only: Annotated[
        bool, typer.Option("--publish-only", help="Start no workers: say how many there should be.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look once, say what would be decided, and change nothing.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Show the latest changes, with their reasons.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, with --dry-run or --history.")] = False,
) -> None:
    """Keep as many workers as the work needs: more at once, fewer after a calm while."""
    if as_json and not (dry_run or history):
        remedy = (
            "goes with --dry-run or --history; LONGWAVE_LOG_FORMAT=json makes the lines of a running one JSON"
        )
        raise InvalidInput(Problem("--json", True, remedy))
    _check_seconds({"--cool-down": cool_down, "--every": every})
    regional = regional_queues(region or [], all_regions=all_regions)
    wish = Wish(
        group or (), minimum or (), maximum or (), target_wait or (), concurrency or (), cool_down, regional
    )
    groups = groups_of(wish, cores=profiles.cores())
    if history:
        _show_history(published.history([group.name for group in groups], SHOWN), as_json)
        return
    if dry_run:
        _show(deciding.look_once(groups), as_json)
        return
    if publish_only:
        _publish(groups, every)
    else:
        _keep_workers(groups, every, regional)


# --- what was asked for -----------------------------------------------------------------------------------------------


def groups_of(wish: Wish, *, cores: int) -> list[Group]:
    """The groups with what is allowed to each. Raises InvalidInput for all that cannot be."""
    names = list(dict.fromkeys(wish.groups or [name for name in PROFILES if name != ALL]))
    problems = list(_wrong_groups(names))
    if problems:
        raise InvalidInput(*problems)
    read = partial(_by_group, names, problems)
    least = read("--min", wish.minimum, MINIMUM, _count(0))
    most = read("--max", wish.maximum, MAXIMUM, _count(1))
    wait = read("--target-wait", wish.target_wait, TARGET_WAIT, _positive)
    places = read("--concurrency", wish.concurrency, 0, _count(1))
    problems += _crossed(names, least, most)
    if problems:
        raise InvalidInput(*problems)
    return [
        Group(
            name,
            _queues(name, wish.regional),
            places[name] or PROFILES[name].concurrency_on(cores),
            Limits(least[name], most[name], wait[name], wish.cool_down),
        )
        for name in names
    ]


def _wrong_groups(names: Sequence[str]) -> Iterator[Problem]:
    for name in names:
        if name not in PROFILES:
            yield Problem("--group", name, "must be one of " + ", ".join(PROFILES))
    if ALL in names and len(names) > 1:
        yield Problem("--group", ALL, "has the queues of every other group: give it alone, or leave it out")


def _queues(name: str, regional: Sequence[str]) -> tuple[str, ...]:
    return (*PROFILES[name].queues, *(regional if PROFILES[name].is_sending else ()))


def _by_group(
    names: Sequence[str],
    problems: list[Problem],
    option: str,
    texts: Sequence[str],
    usual: T,
    read: Callable[[str], T],
) -> dict[str, T]:
    """What the option says of each group: `3` of all of them, `files=8` of one. Adds what is wrong to `problems`."""
    found = dict.fromkeys(names, usual)
    for text in sorted(texts, key=lambda text: "=" in text):  # what is said of one group counts more
        name, value = text.split("=", 1) if "=" in text else ("", text)
        if name and name not in names:
            problems.append(Problem(option, text, f"must be for one of {', '.join(names)}"))
            continue
        try:
            found |= dict.fromkeys([name] if name else names, read(value))
        except ValueError as error:
            problems.append(Problem(option, text, str(error)))
    return found


def _count(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= MOST_WORKERS:
            raise ValueError(f"must be a whole number from {least} to {MOST_WORKERS:,}")
        return int(text)

    return read


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= DAY:
        raise ValueError("must be a number of seconds above 0, and a day at most")
    return value


def _check_seconds(options: Mapping[str, float]) -> None:
    wrong = [(name, value) for name, value in options.items() if not value <= DAY]
    if wrong:
        remedy = "must be a number of seconds, and a day at most"
        raise InvalidInput(*(Problem(name, value, remedy) for name, value in wrong))


def _crossed(names: Sequence[str], least: dict[str, int], most: dict[str, int]) -> Iterator[Problem]:
    for name in names:
        if least[name] > most[name]:
            remedy = f"is more than the most, {most[name]}: raise --max, or lower it"
            yield Problem(f"--min of {name}", least[name], remedy)


# --- one look ---------------------------------------------------------------------------------------------------------


def _show(looks: Sequence[Look], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([_as_values(look) for look in looks]))
        return
    table = tables.table("Group", ">before", ">desired", "because")
    for look in looks:
        table.add_row(look.group.name, str(look.before), str(look.decision.desired), look.decision.reason)
    tables.show(table)


def _show_history(changes: Sequence[Change], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(change) for change in changes]))
        return
    table = tables.table("When", "Group", ">before", ">desired", "because")
    for change in changes:
        table.add_row(
            words.moment(change.at), change.group, str(change.before), str(change.desired), change.reason
        )
    tables.show(table if changes else "Nothing has changed yet.")


def _as_values(look: Look) -> dict[str, Any]:
    limits = look.group.limits
    return {
        "group": look.group.name,
        "before": look.before,
        "desired": look.decision.desired,
        "min": limits.minimum,
        "max": limits.maximum,
        "reason": look.decision.reason,
        **asdict(look.load),
    }


# --- again and again --------------------------------------------------------------------------------------------------


def _publish(groups: Sequence[Group], every: float) -> None:
    current, stop = config.current(), Alarm()
    logs.keep(current.log_dir, "autoscale", current.log_format)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    steering.publish(groups, stop, every=every)


def _keep_workers(groups: Sequence[Group], every: float, regional: Sequence[str]) -> None:
    current = config.current()
    folder = current.home / "run" / "autoscale"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.held(current.home / "run" / "autoscale.lock", "`longwave autoscale`"):
        output = Output(
            sys.stdout,
            names=[pool.name_of(group, 1) for group in groups],
            as_json=current.log_format == "json",
            own_name="autoscale",
            journal=_journal(current),
        )
        supervisor = Supervisor(
            children=[],
            run_folder=folder,
            output=output,
            setup=modules_check(current),
            return_work=return_work,
            stop_within=STOP_WITHIN,
            hurry_after=HURRY_AFTER,
        )
        code = keeping.keep(groups, supervisor, partial(_child, regional=regional), every=every)
        output.say("stopped" if code == 0 else "stopped at once")
    raise typer.Exit(code)


def _journal(current: Config) -> Callable[..., None] | None:
    """Where the supervisor's lines are kept, when a folder for logs is set: the terminal has them already."""
    if current.log_dir is None:
        return None
    file = logs.file_handler(current.log_dir, "autoscale", current.log_format)
    logging.getLogger().addHandler(file)
    only_there = logging.getLogger("longwave.autoscale.children")
    only_there.addHandler(file)
    only_there.propagate = False
    return structlog.get_logger(only_there.name).info  # type: ignore[no-any-return]


def _child(group: Group, name: str, regional: Sequence[str]) -> Child:
    profile = PROFILES[group.name]
    # Within a worker processes come and go by themselves; threads cost nothing while they wait.
    concurrency = f"1-{group.concurrency}" if profile.pool == "prefork" else str(group.concurrency)
    options = ["--profile", group.name, "--concurrency", concurrency, "--name", name]
    options += ["--grace", str(GRACE), *COUNTED]
    if profile.is_sending:
        regions = dict.fromkeys(queue.partition(".")[2] for queue in regional)
        options += [word for region in regions for word in ("--region", region)]
    return Child(name, command("worker", *options), rank=0, holds_work=True)
