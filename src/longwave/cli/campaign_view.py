"""A campaign on the terminal: the report, and the live view."""

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from longwave.campaigns import lifecycle, report
from longwave.campaigns.models import Campaign

REFRESH = 0.5
"""Seconds between two looks at the ledger."""

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


def watch(id: int) -> None:
    """Show the campaign until it ends. Ctrl-C stops the showing, never the campaign."""
    console = Console()
    meter = RateMeter()
    try:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                campaign = lifecycle.get(id)
                now = report.progress(campaign)
                view = render(campaign, now, meter.add(now.counts["sent"]), report.batches(campaign))
                live.update(view, refresh=True)
                if now.state in ENDED:
                    return
                time.sleep(REFRESH)
    except KeyboardInterrupt:
        console.print(f"Campaign {id} goes on without you. Look again with `longwave campaign watch {id}`.")


class RateMeter:
    """Messages a second over the last few looks."""

    def __init__(self, span: float = 4.0) -> None:
        self._span = span
        self._seen: list[tuple[float, int]] = []

    def add(self, sent: int) -> float:
        """Note the count now; the rate since about `span` seconds ago."""
        now = time.monotonic()
        self._seen = [(at, n) for at, n in self._seen if now - at <= self._span] + [(now, sent)]
        first_at, first = self._seen[0]
        return (sent - first) / (now - first_at) if now > first_at else 0.0


def render(
    campaign: Campaign, now: report.Progress, rate: float, batches: list[dict[str, Any]]
) -> RenderableType:
    """The live view: bar, rate, what is left, outcomes, batches."""
    from longwave.cli.campaign import duration

    title = Text.assemble((campaign.name, "bold"), f"  {now.state}")
    if now.reason:
        title.append(f"  {now.reason}", style="yellow")
    total = max(1, now.recipients)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=total, completed=now.settled, width=40),
        f"{now.settled:,} / {now.recipients:,}",
        f"{now.settled / total:.0%}",
    )
    left = now.pending / rate if rate > 0 else now.eta_seconds
    facts = [f"{rate:,.1f} sent/s"]
    if left is not None and now.state == "running":
        facts.append(f"about {duration(left)} left")
    if now.held_until is not None:
        facts.append(f"held for {max(0.0, now.held_until - time.time()):.0f} s: {now.held_reason}")
    counts = Text("  ").join(
        Text(f"{name} {count:,}", style=COLOURS[name]) for name, count in now.counts.items() if count
    )
    return Group(title, bar, Text(" · ".join(facts)), counts, _grid(batches))


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


def print_report(document: dict[str, Any]) -> None:
    """The report as a person reads it."""
    console = Console(highlight=False)
    console.print(
        f"[bold]Campaign {document['id']}[/]  {escape(document['name'])}  [bold]{document['state']}[/]"
    )
    if document["reason"]:
        console.print(f"  {escape(document['reason'])}", style="yellow")
    table = Table.grid(padding=(0, 2))
    for label, value in _lines(document):
        table.add_row(Text(label, style="dim"), value)
    console.print(table)
    for error in document["errors"][:10]:
        console.print(f"  {error['count']:>8,} × [dim]{error['outcome']}[/]  {escape(error['text'])}")
    for batch in document.get("batch_list", []):
        counts = " ".join(f"{name} {batch[name]:,}" for name in COLOURS if batch[name])
        console.print(f"  batch {batch['number']:>5} {batch['state']:<6} {batch['size']:>6,}  {counts}")


def _lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    counts = ", ".join(f"{name} {document[name]:,}" for name in COLOURS if document[name]) or "nothing yet"
    limit = f"{document['rate_limit']:g}/s" if document["rate_limit"] else "none"
    rates = f"mean {document['mean_rate']:g}/s, highest {document['peak_rate']:g}/s, limit {limit}"
    if document["held_seconds"]:
        rates += f", held {document['held_seconds']:.1f} s"
    lines = [
        ("sender", document["sender"]),
        ("recipients", f"{document['recipients']:,}, {document['pending']:,} to come"),
        ("outcomes", counts),
        ("rate", rates),
        ("started", document["started_at"] or "–"),
        ("finished", document["finished_at"] or "–"),
    ]
    if document["held_until"]:
        lines.append(
            ("held", f"{document['held_until'] - time.time():.0f} s more: {document['held_reason']}")
        )
    if document["unknown"]:
        lines.append(
            ("unknown", f"decide with `longwave campaign resolve {document['id']} resend` or `… skip`")
        )
    return lines
