"""A campaign on the terminal: the report, and the live view."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from longwave import database
from longwave.campaigns import lifecycle, pricing, report
from longwave.campaigns.models import Campaign
from longwave.campaigns.resolving import OPEN_TO_CHANGE
from longwave.cli.words import duration, moment

REFRESH = 0.5
"""Seconds between two looks at the ledger."""

PLAIN_REFRESH = 10.0
"""Seconds between two lines where there is no terminal."""

SETTLED_AFTER = 5.0
"""Seconds after its start or resume from which a campaign's rate says how long it will take."""

ENDED = ("completed", "cancelled", "failed")
COLOURS = {
    "sent": "green",
    "gone": "yellow",
    "rejected": "red",
    "failed": "red",
    "unknown": "magenta",
    "skipped": "dim",
    "cancelled": "dim",
}
_MOST_CELLS = 400
NUMBERS = ("id", "recipients", "sent", "pending")
WIDE, UNBOUND = 100, 200
"""Columns: from where all of a list's columns fit, and what a file or a pipe gets."""


def watch(id: int, *, as_json: bool = False) -> str:
    """Show the campaign until it ends; the state it ended in. Ctrl-C stops the showing, never the campaign.

    as_json: a line of JSON at every look, on stdout.
    """
    console = Console(highlight=False)
    show = _watch_as_json if as_json else _watch_live if console.is_terminal else _watch_plainly
    try:
        return show(console, id)
    except KeyboardInterrupt:
        said = f"Campaign {id} goes on without you. Look again with `longwave campaign watch {id}`."
        Console(stderr=as_json, highlight=False).print(said, soft_wrap=True)
        return ""


def wait(id: int) -> str:
    """Show nothing until it ends; the state it ended in."""
    return deque(_looks(id), maxlen=1)[0].now.state


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at the ledger. rate: messages a second over the latest few looks."""

    campaign: Campaign
    now: report.Progress
    rate: float


def _looks(id: int) -> Iterator[_Look]:
    """A look now and then; the last one after it ended."""
    meter = RateMeter()
    while True:
        campaign = lifecycle.get(id)
        now = report.progress(campaign)
        yield _Look(campaign, now, meter.add(now.counts["sent"]))
        if now.state in ENDED:
            return
        time.sleep(REFRESH)


def _watch_live(console: Console, id: int) -> str:
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for look in _looks(id):
            view = render(look.campaign, look.now, look.rate, report.batches(look.campaign))
            live.update(view, refresh=True)
    return look.now.state


def _watch_plainly(console: Console, id: int) -> str:
    """A line now and then, for a file or a pipe: at once when the state changes."""
    told, told_at = "", 0.0
    for look in _looks(id):
        if look.now.state != told or time.monotonic() - told_at >= PLAIN_REFRESH:
            told, told_at = look.now.state, time.monotonic()
            console.print(escape(_plain_line(id, look.now, look.rate)), soft_wrap=True)
    return look.now.state


def _watch_as_json(console: Console, id: int) -> str:
    for look in _looks(id):
        print(json.dumps(_look_document(look), ensure_ascii=False), file=console.file, flush=True)
    return look.now.state


def _look_document(look: _Look) -> dict[str, Any]:
    now = look.now
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": look.campaign.pk,
        "state": now.state,
        "reason": now.reason,
        "recipients": now.recipients,
        "pending": now.pending,
        **now.counts,
        "rate": round(look.rate, 1),
        "eta_seconds": None if now.eta_seconds is None else round(now.eta_seconds, 1),
        "held_until": now.held_until,
        "held_reason": now.held_reason,
    }


def _plain_line(id: int, now: report.Progress, rate: float) -> str:
    facts = [f"Campaign {id} {now.state}", f"{now.settled:,} of {now.recipients:,}", f"{rate:,.1f} sent/s"]
    facts += [f"{name} {count:,}" for name, count in now.counts.items() if count]
    if is_clearing(now.state, now.pending):
        facts.append(f"clearing {now.pending:,}")
    return ", ".join(facts) + (f" ({now.reason})" if now.reason else "")


class RateMeter:
    """Messages a second over the last few looks."""

    def __init__(self, span: float = 4.0) -> None:
        self._span = span
        self._seen: list[tuple[float, int]] = []

    def add(self, sent: int) -> float:
        """Note the count now; the rate since about `span` seconds ago, or since the first message."""
        now = time.monotonic()
        recent = [(at, n) for at, n in self._seen if now - at <= self._span] if sent else []
        self._seen = [*recent, (now, sent)]
        first_at, first = self._seen[0]
        return (sent - first) / (now - first_at) if now > first_at else 0.0


def render(
    campaign: Campaign, now: report.Progress, rate: float, batches: list[dict[str, Any]]
) -> RenderableType:
    """The live view: bar, rate, what is left, outcomes, batches."""
    title = Text.assemble((campaign.name, "bold"), f"  {now.state}")
    if now.reason:
        title.append(f"  {now.reason}", style="yellow")
    if now.state == "paused":
        title.append(f"\nGo on with `longwave campaign resume {campaign.pk}`.", style="dim")
    total = max(1, now.recipients)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=total, completed=now.settled, width=40),
        f"{now.settled:,} / {now.recipients:,}",
        f"{now.settled / total:.0%}",
    )
    left = _seconds_left(campaign, now, rate)
    facts = [f"{rate:,.1f} sent/s"]
    if left is not None and now.state == "running":
        facts.append(f"about {duration(left)} left")
    if is_clearing(now.state, now.pending):
        facts.append(_clearing(now.pending))
    if now.held_until is not None:
        facts.append(
            f"held for {max(0.0, now.held_until - database.now().timestamp()):.0f} s: {now.held_reason}"
        )
    counts = Text("  ").join(
        Text(f"{name} {count:,}", style=COLOURS[name]) for name, count in now.counts.items() if count
    )
    return Group(title, bar, Text(" · ".join(facts)), *([counts] if counts else []), _grid(batches))


def _seconds_left(campaign: Campaign, now: report.Progress, rate: float) -> float | None:
    """At the rate of the last looks, once that means something; before, at the one that is allowed."""
    has_settled = (database.now() - campaign.state_at).total_seconds() > SETTLED_AFTER
    best = rate if rate > 0 and has_settled else pricing.effective_rate(campaign)
    return now.pending / best if best else None


def is_clearing(state: str, pending: int) -> bool:
    """Whether it was cancelled so lately that a worker is still marking what was not sent."""
    return state == "cancelled" and pending > 0


def _clearing(pending: int) -> str:
    return f"clearing {pending:,}: not sent, and being marked as cancelled"


def _grid(batches: list[dict[str, Any]]) -> Text:
    """One mark a batch: · open, ▸ in work, ■ done (red where something failed, magenta where unknown)."""
    grid = Text()
    for batch in batches[:_MOST_CELLS]:
        style = "magenta" if batch["unknown"] else "red" if batch["failed"] or batch["rejected"] else "green"
        mark = {"open": "·", "leased": "▸", "done": "■"}[batch["state"]]
        grid.append(mark, style="dim" if batch["state"] == "open" else style)
    if len(batches) > _MOST_CELLS:
        grid.append(f" +{len(batches) - _MOST_CELLS:,}")
    return grid


def print_list(rows: list[tuple[Campaign, report.Progress]]) -> None:
    """One line a campaign; a narrow terminal gets the columns that matter most."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=UNBOUND)
    headings = ["id", "name", "state", "sent", "recipients"]
    if console.width >= WIDE:
        headings = ["id", "name", "sender", "state", "recipients", "sent", "pending", "reason"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        is_text, may_wrap = heading not in NUMBERS, heading in ("name", "reason")
        table.add_column(
            heading, justify="left" if is_text else "right", no_wrap=not may_wrap, overflow="fold"
        )
    for campaign, now in rows:
        cells = {
            "id": str(campaign.pk),
            "name": campaign.name,
            "sender": campaign.sender.name,
            "state": now.state,
            "recipients": f"{now.recipients:,}",
            "sent": f"{now.counts['sent']:,}",
            "pending": f"{now.pending:,}",
            "reason": now.reason,
        }
        table.add_row(*(Text(cells[heading]) for heading in headings))
    console.print(table)


def print_report(document: dict[str, Any]) -> None:
    """The report as a person reads it."""
    console = Console(highlight=False)
    console.print(
        f"[bold]Campaign {document['id']}[/]  {escape(document['name'])}  [bold]{document['state']}[/]"
    )
    if document["reason"]:
        console.print(f"  {escape(document['reason'])}", style="yellow", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for label, value in _lines(document):
        table.add_row(Text(label, style="dim"), Text(value))
    console.print(table)
    if document["errors"]:
        console.print("errors met on the way, also where a later try was sent", style="dim")
    for error in document["errors"][:10]:
        console.print(
            f"  {error['count']:>8,} × [dim]{error['outcome']}[/]  {escape(error['text'])}", soft_wrap=True
        )
    for batch in document.get("batch_list", []):
        counts = " ".join(f"{name} {batch[name]:,}" for name in COLOURS if batch[name])
        console.print(
            f"  batch {batch['number']:>5} {batch['state']:<6} {batch['size']:>6,}  {counts}", soft_wrap=True
        )


def _lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    counts = ", ".join(f"{name} {document[name]:,}" for name in COLOURS if document[name]) or "nothing yet"
    limit = f"{document['rate_limit']:g}/s" if document["rate_limit"] else "none"
    rates = f"{document['mean_rate']:g}/s while sending, best ten seconds {document['peak_rate']:g}/s, limit {limit}"
    if document["held_seconds"]:
        rates += f", held {document['held_seconds']:.1f} s"
    lines = [("sender", document["sender"]), ("list", document["list"] or "everybody in the segment")]
    if document["state"] == "scheduled":
        lines.append(("scheduled", moment(document["scheduled_at"])))
    if document["state"] in ("draft", "scheduled"):
        look = f"who it goes to, and for how long: `longwave campaign estimate {document['id']}`"
        return [*lines, ("limit", limit), ("audience", look)]
    lines += [
        ("recipients", _recipients(document)),
        ("outcomes", counts),
        ("rate", rates),
        ("started", moment(document["started_at"])),
        ("finished", moment(document["finished_at"])),
    ]
    if document["held_until"]:
        lines.append(
            (
                "held",
                f"{document['held_until'] - database.now().timestamp():.0f} s more: {document['held_reason']}",
            )
        )
    if document["unknown"] and document["state"] in OPEN_TO_CHANGE:
        lines.append(
            ("unknown", f"decide with `longwave campaign resolve {document['id']} resend` or `… skip`")
        )
    if (document["failed"] or document["rejected"]) and document["state"] in OPEN_TO_CHANGE:
        lines.append(("again", f"`longwave campaign retry-failed {document['id']}` once the cause is mended"))
    if document["state"] == "paused":
        lines.append(("go on", f"`longwave campaign resume {document['id']}`"))
    return lines


def _recipients(document: dict[str, Any]) -> str:
    pending = document["pending"]
    if is_clearing(document["state"], pending):
        return f"{document['recipients']:,}, {_clearing(pending)}"
    to_come = f", {pending:,} to come" if document["state"] not in ENDED else ""
    return f"{document['recipients']:,}{to_come}"
