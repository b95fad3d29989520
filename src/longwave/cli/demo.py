"""`longwave demo`: the main job for real, embedded, against the fake Telegram, which then judges it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longwave.core.errors import LongwaveError
from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.verdict import Verdict, judge

if TYPE_CHECKING:
    from longwave.campaigns.models import Campaign

TOKEN = "4242424242:DEMO-token-of-the-fake-telegram-server"  # noqa: S105 - opens nothing but the fake
LATENCY_MS = 30
JITTER_MS = 20
FLOOD_SECONDS = 1.0
BURST_GUARD = 0.02
"""Wider than the default: here the provider's clock shares a few cores with everything that it judges."""
SHARES = {"blocked": 0.02, "deactivated": 0.005, "not_found": 0.005}
KILL_AT, FLUSH_AT, FLOOD_AT = 0.25, 0.45, 0.65
"""How far the broadcast is when each accident happens."""


def demo(
    recipients: Annotated[int, typer.Option(min=1, help="How many people get the broadcast.")] = 10_000,
    rate: Annotated[int, typer.Option(min=1, help="Messages a second; the fake refuses more.")] = 1000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes that send.")] = 2,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill a worker and flush the broker midway.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict as the last line.")] = False,
) -> None:
    """Broadcast to a fake Telegram with blocked users, latency and a flood, and let its log judge the result.

    Everything is real but Telegram: import, ledger, broker, workers. It lives in a temporary folder and leaves nothing
    behind. Exit code 1 when a promise was broken.
    """
    with tempfile.TemporaryDirectory(prefix="longwave-demo-") as folder, contextlib.ExitStack() as stack:
        _own_environment(Path(folder))
        telegram = stack.enter_context(FakeTelegram(rate=rate, latency=LATENCY_MS, jitter=JITTER_MS))
        telegram.users(chats=None, **SHARES)
        stage = _Stage(telegram, Path(folder), as_json)
        stage.say(f"A fake Telegram listens on {telegram.base_url}: {rate} messages/s, {LATENCY_MS} ms away.")
        _load_django()
        stack.enter_context(_running(stage, workers))
        campaign_id = _prepare(stage, recipients, rate)
        accidents = _Accidents(stage, chaos)
        _watch(stage, campaign_id, accidents, give_up_after=60 + 3 * recipients / rate)
        verdict = _judge(stage, campaign_id, recipients)
    broken = verdict.broken_promises(rate)
    if as_json:
        typer.echo(json.dumps(verdict.as_dict()))
    else:
        _print(verdict, rate, broken)
    raise typer.Exit(1 if broken else 0)


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where the demo plays."""

    telegram: FakeTelegram
    home: Path
    quiet: bool

    def log(self) -> str:
        """The last that the processes said."""
        return (self.home / "up.log").read_text(errors="replace")[-2000:]

    def say(self, text: str) -> None:
        typer.echo(text, err=self.quiet)


def _own_environment(home: Path) -> None:
    """Nothing of the user's own installation is used or touched."""
    for name in [name for name in os.environ if name.startswith("LONGWAVE_")]:
        del os.environ[name]
    os.environ["LONGWAVE_HOME"] = str(home)
    os.environ["LONGWAVE_LOG_LEVEL"] = "WARNING"


def _load_django() -> None:
    from longwave import config
    from longwave.cli import ready

    config.current.cache_clear()
    ready()


@contextlib.contextmanager
def _running(stage: _Stage, workers: int) -> Iterator[None]:
    """`longwave up`, as a child; stopped in good order at the end."""
    command = [sys.executable, "-m", "longwave", "--parent", str(os.getpid())]
    with (stage.home / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [*command, "up", "--no-web", "--senders", str(workers)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_for_children(stage, up, workers)
            yield
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(15)


def _wait_for_children(stage: _Stage, up: "subprocess.Popen[bytes]", workers: int) -> None:
    deadline = time.monotonic() + 30
    while len(_workers(stage.home)) < workers:
        if up.poll() is not None or time.monotonic() > deadline:
            raise LongwaveError(f"`longwave up` did not start:\n{stage.log()}")
        time.sleep(0.05)


def _workers(home: Path) -> dict[str, int]:
    """Name and pid of every sending worker that runs."""
    from longwave.ops import processes

    return {
        r.name: r.pid for r in processes.load(home / "run" / "children.json") if r.name.startswith("send-")
    }


def _prepare(stage: _Stage, recipients: int, rate: int) -> int:
    from longwave.campaigns import drafting, lifecycle
    from longwave.contacts import importing, lists
    from longwave.senders import senders

    began = time.monotonic()
    contacts = stage.home / "people.csv"
    with contacts.open("w") as file:
        file.write("chat_id,name\n")
        file.writelines(f"{chat},Person {chat}\n" for chat in range(1, recipients + 1))
    audience = lists.get_or_create("everybody", "telegram")
    with contacts.open("rb") as source:
        importing.import_csv(source, channel="telegram", contact_list=audience)
    people = "1 contact" if recipients == 1 else f"{recipients:,} contacts"
    stage.say(f"{people} imported in {time.monotonic() - began:.1f} s.")
    url = stage.telegram.base_url
    sender = senders.add("telegram", "demo", TOKEN, rate=rate, base_url=url, burst_guard=BURST_GUARD)
    content = {"kind": "text", "text": "Hello {{ name }}, this is <b>Longwave</b>.", "parse_mode": "HTML"}
    draft = drafting.Draft(sender=sender, content=content, contact_list=audience, name="Longwave demo")
    campaign: Campaign = drafting.create(draft)
    lifecycle.start(campaign.pk)
    return campaign.pk


class _Accidents:
    """What happens to the broadcast on its way: always a flood; with chaos a killed worker and a flushed broker."""

    def __init__(self, stage: _Stage, chaos: bool) -> None:
        self._stage = stage
        self._due: list[tuple[float, Any]] = [(FLOOD_AT, self._flood)]
        if chaos:
            self._due += [(KILL_AT, self._kill), (FLUSH_AT, self._flush)]
        self._due.sort(key=lambda accident: accident[0])

    def happen(self, done: float) -> list[str]:
        """Those that are due when the broadcast is `done` (0…1) on its way; what happened."""
        told = []
        while self._due and self._due[0][0] <= done < 1:
            told.append(self._due.pop(0)[1]())
        return told

    def _flood(self) -> str:
        self._stage.telegram.fault("flood", seconds=FLOOD_SECONDS)
        return f"Telegram answers 429 to everything for {FLOOD_SECONDS:g} s."

    def _kill(self) -> str:
        name, pid = min(_workers(self._stage.home).items())
        os.kill(pid, signal.SIGKILL)
        return f"Worker {name} was killed (kill -9 {pid})."

    def _flush(self) -> str:
        from longwave import config
        from longwave.ops import broker

        broker.flush(config.broker_socket(config.current()))
        return "The broker lost everything (FLUSHALL)."


def _watch(stage: _Stage, campaign_id: int, accidents: _Accidents, *, give_up_after: float) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from longwave.campaigns import lifecycle, report
    from longwave.cli import campaign_view

    meter = campaign_view.RateMeter(span=2.0)
    told: list[str] = []
    deadline = time.monotonic() + give_up_after
    with Live(console=Console(stderr=stage.quiet), auto_refresh=False) as live:
        while True:
            campaign = lifecycle.get(campaign_id)
            now = report.progress(campaign)
            told += accidents.happen(now.settled / max(1, now.recipients))
            view = campaign_view.render(
                campaign, now, meter.add(now.counts["sent"]), report.batches(campaign)
            )
            live.update(Group(view, *(Text(f"! {line}", style="bold yellow") for line in told)), refresh=True)
            if campaign.state == "paused":
                raise LongwaveError(f"The broadcast paused itself: {campaign.reason}")
            if now.state in campaign_view.ENDED:
                return
            if time.monotonic() > deadline:
                raise LongwaveError(f"The broadcast hangs: {now.pending:,} are still to come. {stage.log()}")
            time.sleep(0.1)


def _judge(stage: _Stage, campaign_id: int, recipients: int) -> Verdict:
    from longwave.campaigns.models import Delivery

    states = Delivery.objects.filter(campaign_id=campaign_id).exclude(state="sent")
    by_chat = {int(address): state for address, state in states.values_list("address", "state")}
    return judge(stage.telegram, range(1, recipients + 1), by_chat)


def _print(verdict: Verdict, rate: int, broken: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print()
    table = Table(title="What the fake Telegram's log says", title_justify="left", show_header=False)
    for label, value in (
        ("expected", f"{verdict.expected:,}"),
        ("delivered once", f"{verdict.delivered_once:,}"),
        ("delivered twice", f"{verdict.delivered_twice:,}"),
        ("lost", f"{verdict.lost:,}"),
        ("unknown, by name", f"{verdict.unknown:,}"),
        ("blocked or gone", f"{verdict.gone:,}"),
        ("most in any second", f"{verdict.peak_second:,} of {rate:,} allowed"),
        ("mean rate", f"{verdict.mean_rate:,.1f}/s"),
        ("429s we caused", f"{verdict.caused_429:,}"),
        ("first to last message", f"{verdict.seconds:.1f} s"),
    ):
        table.add_row(label, value)
    console.print(table)
    for sentence in broken:
        console.print(f"[bold red]Broken:[/] {sentence}.")
    if not broken:
        console.print("[green]Every promise was kept.[/]")
