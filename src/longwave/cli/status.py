"""`longwave status`: queues, workers, senders and campaigns, once or live."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from longwave.cli import tables
from longwave.cli.words import duration, for_scripts, moment
from longwave.jobs import broker
from longwave.ops import status as overview
from longwave.ops.status import Overview, QueueLine, WorkerLine

REFRESH = 1.0
"""Seconds between two looks; each takes about a second more."""

NARROW = ("Queue", ">ready", ">running", ">retrying", ">oldest wait", ">workers", "")
WIDE = (*NARROW[:3], ">scheduled", *NARROW[3:5], ">per min", ">clear in", *NARROW[5:])
WIDE_FROM = 100
"""What is said of a queue, and the columns of a terminal from which on all of it is."""


def status(
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show it live, until Ctrl-C; in a pipe, again and again."),
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also queues in which nothing is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON; with --watch a line at every look.")] = False,
) -> None:
    """Queues, workers, senders and campaigns as they are now."""
    try:
        if as_json:
            _as_json(watch)
        elif watch and sys.stdout.isatty():
            _live(everything)
        else:
            _lines(watch, everything)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _as_json(watch: bool) -> None:
    typer.echo(json.dumps(asdict(overview.look()), default=for_scripts))
    while watch:
        time.sleep(REFRESH)
        typer.echo(json.dumps(asdict(overview.look()), default=for_scripts))


def _lines(watch: bool, everything: bool) -> None:
    tables.show(_drawn(overview.look(), everything))
    while watch:
        time.sleep(REFRESH)
        typer.echo()
        tables.show(_drawn(overview.look(), everything))


def _live(everything: bool) -> None:
    first = _drawn(overview.look(), everything)
    with Live(first, console=tables.console(), auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(REFRESH)
            live.update(_drawn(overview.look(), everything), refresh=True)


def _drawn(seen: Overview, everything: bool) -> RenderableType:
    parts: list[RenderableType] = [_queues(seen, everything), Text(), _workers(seen)]
    if seen.senders:
        parts += [Text(), _senders(seen)]
    if seen.campaigns:
        parts += [Text(), _campaigns(seen)]
    if seen.scaling:
        parts += [Text(), _scaling(seen)]
    return Group(*parts)


def _queues(seen: Overview, everything: bool) -> RenderableType:
    shown = [line for line in seen.queues if everything or _is_busy(line)]
    if not shown:
        return Text("Queues: nothing waits, nothing runs. --all lists them.", style="dim")
    headings = WIDE if tables.console().width >= WIDE_FROM else NARROW
    table = tables.table(*headings, whole="Queue")
    for line in shown:
        cells = _cells(line)
        table.add_row(*(cells[heading] for heading in headings))
    return table


def _cells(line: QueueLine) -> Mapping[str, RenderableType]:
    return {
        "Queue": line.queue,
        ">ready": f"{line.ready:,}",
        ">running": f"{line.running:,}",
        ">scheduled": f"{line.scheduled:,}",
        ">retrying": f"{line.retrying:,}",
        ">oldest wait": duration(line.oldest_wait) if line.ready else "–",
        ">per min": f"{line.per_minute:,}",
        ">clear in": _clears(line),
        ">workers": "?" if line.workers is None else str(line.workers),
        "": _remark(line),
    }


def _is_busy(line: QueueLine) -> bool:
    return bool(line.ready or line.running or line.scheduled or line.retrying or line.is_paused)


def _clears(line: QueueLine) -> str:
    if not line.ready:
        return "–"
    return "not yet known" if line.clears_in is None else duration(line.clears_in)


def _remark(line: QueueLine) -> Text:
    if line.pause is not None:
        return Text(str(line.pause), style="yellow")
    return Text("nobody listens", style="red") if line.ready and line.workers == 0 else Text()


def _workers(seen: Overview) -> RenderableType:
    if not seen.workers and seen.broker_answers:
        return Text("Workers: none answers. `longwave up` or `longwave worker` starts one.", style="red")
    table = tables.table("Worker", ">pid", "queues", ">at once", ">memory", ">last seen", "runs")
    for line in seen.workers:
        table.add_row(
            line.name,
            str(line.pid),
            _listening(line),
            str(line.concurrency or "–"),
            "–" if line.memory_mb is None else f"{line.memory_mb:.0f} MB",
            "now" if line.has_answered else f"{duration(line.last_seen)} ago",
            _running(line),
        )
    if seen.broker_answers:
        return table
    what = f"Workers: the broker does not answer, so they cannot be asked; {broker.how_to_start()}."
    away = Text(what, style="red")
    return Group(away, table) if seen.workers else away


def _listening(line: WorkerLine) -> Text:
    if not line.has_answered:
        return Text("does not answer", style="yellow")
    if line.is_leaving:
        return Text("leaving: takes nothing new", style="yellow")
    return Text(", ".join(line.queues))


def _running(line: WorkerLine) -> str:
    if not line.jobs:
        return "nothing"
    first = line.jobs[0]
    more = f" and {len(line.jobs) - 1} more" if len(line.jobs) > 1 else ""
    return f"{first['name']} #{first['id']} for {duration(first['seconds'])}{more}"


def _senders(seen: Overview) -> RenderableType:
    table = tables.table("Sender", ">rate", "status")
    for line in seen.senders:
        rate = "unlimited" if line.rate is None else f"{line.rate:g}/s"
        table.add_row(line.name, rate, _standing(line))
    return table


def _standing(line: overview.SenderLine) -> Text:
    if line.held_seconds:
        return Text(f"held for {duration(line.held_seconds)}: {line.held_reason}", style="yellow")
    if line.reason:
        return Text(f"{line.status}: {line.reason}", style="red")
    return Text(line.status)


def _campaigns(seen: Overview) -> RenderableType:
    table = tables.table(">Campaign", "name", "state", ">done", ">rate", ">left", "reason")
    for line in seen.campaigns:
        table.add_row(
            str(line.id),
            Text(line.name),
            line.state,
            f"{line.settled:,} of {line.recipients:,}",
            f"{line.rate:g}/s",
            "–" if line.eta_seconds is None else duration(line.eta_seconds),
            Text(line.reason),
        )
    return table


def _scaling(seen: Overview) -> RenderableType:
    table = tables.table("Group", ">desired", ">min", ">max", "because")
    for group in seen.scaling:
        stale = Text(f"nobody has looked since {moment(group.at)}: `longwave autoscale` does", style="yellow")
        why = stale if group.is_stale else Text(group.reason)
        table.add_row(group.group, str(group.desired), str(group.min), str(group.max), why)
    return table
