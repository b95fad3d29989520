"""`longwave campaign …`: create, estimate, test, start, watch, pause, resume, report."""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer
from django.utils import timezone

from longwave.campaigns import drafting, lifecycle, outlook, pricing, report, resolving
from longwave.campaigns.models import Campaign, CampaignState, DeliveryState
from longwave.cli import progress, waiting
from longwave.cli.answers import AsJson
from longwave.cli.words import duration, moment
from longwave.contacts import lists, saved_segments, segments
from longwave.core.errors import Conflict, InvalidInput, Problem
from longwave.senders import senders

app = typer.Typer(no_args_is_help=True, help="Create, start, watch, pause and report broadcasts.")
Id = Annotated[int, typer.Argument(help="The campaign's number.")]
_NOBODY = (
    "Nobody in its audience can be written to. See `longwave contacts lists`, "
    "and `longwave contacts import FILE.csv --list NAME`."
)


@app.command()
def create(
    sender: Annotated[str, typer.Option(help="Name of the sender.")],
    to: Annotated[str | None, typer.Option("--list", help="Name of the list that gets it.")] = None,
    segment: Annotated[str | None, typer.Option(help="Name of a segment that narrows the audience.")] = None,
    text: Annotated[str | None, typer.Option(help="The message, when it is plain text or markup.")] = None,
    parse_mode: Annotated[str | None, typer.Option(help="Markup of --text: HTML or MarkdownV2.")] = None,
    content: Annotated[
        Path | None, typer.Option(help="JSON file with the content; - reads standard input.")
    ] = None,
    name: Annotated[str, typer.Option(help="What you call it.")] = "",
    rate: Annotated[
        float | None, typer.Option(help="Messages a second; the sender's rate unless given.")
    ] = None,
    on_unknown: Annotated[
        str, typer.Option(help="After a crash: skip (nobody twice) or resend (nobody missed).")
    ] = "skip",
    paid: Annotated[bool, typer.Option(help="Pay Telegram for more than 30/s.")] = False,
    stars_budget: Annotated[int | None, typer.Option(min=1, help="Most Stars it may cost.")] = None,
    failure_limit: Annotated[float, typer.Option(help="Share of failures at which it pauses itself.")] = 0.10,
    as_json: AsJson = False,
) -> None:
    """Write down a new campaign. Nothing is sent before `start`."""
    draft = drafting.Draft(
        sender=senders.by_name(sender),
        content=_content(text, parse_mode, content),
        contact_list=lists.by_name(to) if to is not None else None,
        segment=segments.to_json(saved_segments.by_name(segment)) if segment is not None else None,
        name=name,
        rate=rate,
        on_unknown=on_unknown,
        paid=paid,
        stars_budget=stars_budget,
        failure_limit=failure_limit,
    )
    campaign = drafting.create(draft)
    if as_json:
        _print_json(report.report(campaign))
        return
    with progress.spinner("Counting its audience…"):
        guess = outlook.estimate(campaign)
    typer.echo(f"Campaign {campaign.pk} is a draft: {_estimate_sentence(guess)}.")
    if not guess.recipients:
        typer.echo(_NOBODY, err=True)
    typer.echo(f"Start it with `longwave campaign start {campaign.pk} --watch`.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All campaigns, latest first."""
    campaigns = Campaign.objects.select_related("sender", "contact_list").order_by("-pk")
    rows = [(campaign, report.progress(campaign)) for campaign in campaigns]
    if as_json:
        _print_json([_summary(campaign, now) for campaign, now in rows])
        return
    if not rows:
        typer.echo("There is no campaign yet. Make one with `longwave campaign create`.")
        return
    from longwave.cli import campaign_view

    campaign_view.print_list(rows)


@app.command()
def show(
    id: Id,
    batches: Annotated[bool, typer.Option(help="Every batch with its counters.")] = False,
    as_json: AsJson = False,
) -> None:
    """The report of one campaign: totals, errors, rates, times."""
    campaign = lifecycle.get(id)
    document = report.report(campaign)
    if batches:
        document["batch_list"] = report.batches(campaign)
    if as_json:
        _print_json(document)
    else:
        from longwave.cli import campaign_view

        campaign_view.print_report(document)
        _warn_when_it_waits(campaign)


@app.command()
def estimate(id: Id, as_json: AsJson = False) -> None:
    """Recipients, duration and cost, were it started now."""
    campaign = lifecycle.get(id)
    with progress.spinner("Counting its audience…"):
        guess = outlook.estimate(campaign)
    if as_json:
        _print_json({name: getattr(guess, name) for name in guess.__slots__})
    else:
        typer.echo(_estimate_sentence(guess).capitalize() + ".")


@app.command()
def preview(id: Id, as_json: AsJson = False) -> None:
    """Render it for the first contacts of its audience; exit 2 with what is wrong."""
    campaign = lifecycle.get(id)
    if problems := outlook.preview(campaign):
        raise InvalidInput(*problems)
    _refuse_nobody(campaign)
    if as_json:
        _print_json({"id": id, "problems": []})
    else:
        typer.echo("The message is right for every contact that was looked at.")


@app.command("test")
def try_out(
    id: Id,
    to: Annotated[list[str], typer.Option(help="A chat to send it to; may be given several times.")],
    wait: Annotated[bool, typer.Option(help="Wait until they were sent.")] = True,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait at most.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Send it to a few chats now, ahead of every campaign. Exit code 1 when one was not sent."""
    if not all(address.strip() for address in to):
        raise InvalidInput(Problem("--to", to, "has an empty one; give the chat's id"))
    jobs = drafting.test(lifecycle.get(id), [address.strip() for address in to])
    if waiting.warn_when_nothing_runs() and wait:
        _tell_results(jobs, timeout, as_json)
    elif as_json:
        _print_json({"jobs": jobs})
    else:
        typer.echo(f"{_count(len(jobs), 'test message')} queued.")


@app.command()
def start(
    id: Id,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it live until it ends; with --json, report only then.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Freeze the audience and send."""
    campaign = lifecycle.get(id)
    if campaign.state in (CampaignState.DRAFT, CampaignState.SCHEDULED):
        _refuse_nobody(campaign)
    started = lifecycle.start(id)
    if watch and as_json:
        _report_at_the_end(id)
        return
    _changed(started, as_json)
    if watch:
        _watch(id)


@app.command()
def schedule(
    id: Id,
    at: Annotated[str, typer.Option(help="ISO time such as 2027-01-31T09:00+03:00; without an offset, UTC.")],
    missed: Annotated[str, typer.Option(help="When nothing ran at that time: run, skip or ask.")] = "ask",
    as_json: AsJson = False,
) -> None:
    """Start at a point in time. Again, to choose another; `unschedule` makes it a draft again."""
    campaign = lifecycle.schedule(id, _time(at), missed)
    _changed(campaign, as_json, f"scheduled for {moment(campaign.scheduled_at)}")


@app.command()
def unschedule(id: Id, as_json: AsJson = False) -> None:
    """Back to a draft."""
    _changed(lifecycle.unschedule(id), as_json, "a draft again")


@app.command()
def pause(id: Id, as_json: AsJson = False) -> None:
    """Hold still, within a second."""
    _changed(lifecycle.pause(id), as_json)


@app.command()
def resume(id: Id, as_json: AsJson = False) -> None:
    """Go on where it stopped."""
    _changed(lifecycle.resume(id), as_json)


@app.command()
def cancel(id: Id, as_json: AsJson = False) -> None:
    """Stop for good."""
    _changed(lifecycle.cancel(id), as_json)


@app.command()
def rate(
    id: Id,
    messages: Annotated[str, typer.Argument(help="Messages a second, or `sender` for the sender's rate.")],
    as_json: AsJson = False,
) -> None:
    """Change the rate, also while it runs."""
    campaign = lifecycle.set_rate(id, None if messages == "sender" else _number(messages))
    limit = pricing.effective_rate(campaign)
    stands = "a draft" if campaign.state == CampaignState.DRAFT else campaign.state
    _changed(campaign, as_json, f"{stands}, at {f'{limit:g}/s' if limit else 'no limit'}")


@app.command()
def resolve(
    id: Id,
    decision: Annotated[str, typer.Argument(help="What to do with unknown deliveries: resend or skip.")],
    as_json: AsJson = False,
) -> None:
    """Decide about deliveries whose outcome a crash has hidden."""
    decide = {"resend": resolving.resend_unknown, "skip": resolving.skip_unknown}.get(decision)
    if decide is None:
        raise InvalidInput(Problem("decision", decision, "must be resend or skip"))
    words = "to be sent again" if decision == "resend" else "skipped"
    with progress.spinner("Writing it down, batch by batch…"):
        count = decide(id)
    _decided(count, words, "No delivery is unknown: there is nothing to decide.", as_json)
    if decision == "resend" and not as_json:
        waiting.warn_when_nothing_runs()


@app.command("retry-failed")
def retry_failed(id: Id, as_json: AsJson = False) -> None:
    """Send again what was refused or failed."""
    with progress.spinner("Writing it down, batch by batch…"):
        count = resolving.retry_failed(id)
    _decided(count, "to be tried again", "Nothing was rejected or failed.", as_json)
    if not as_json:
        waiting.warn_when_nothing_runs()


@app.command()
def receipts(
    id: Id,
    state: Annotated[str | None, typer.Option(help="Only deliveries of this state.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write; standard output unless given.")] = None,
) -> None:
    """Every delivery as CSV: address, state, message id, error."""
    if state is not None and state not in DeliveryState.values:
        raise InvalidInput(Problem("state", state, "must be one of " + ", ".join(DeliveryState.values)))
    campaign = lifecycle.get(id)
    if out is None:
        _write_receipts(campaign, sys.stdout, state, wanted=not sys.stdout.isatty())
        return
    try:
        file = out.open("w", newline="", encoding="utf-8")
    except OSError as error:
        remedy = f"cannot be written ({error.strerror}); name another file"
        raise InvalidInput(Problem("--out", str(out), remedy)) from None
    with file:
        count = _write_receipts(campaign, file, state, wanted=True)
    typer.echo(f"{_count(count, 'receipt')} written to {out}.")


def _write_receipts(campaign: Campaign, file: TextIO, state: str | None, *, wanted: bool) -> int:
    """With a bar on the terminal, if one is wanted; how many."""
    now = report.progress(campaign)
    total = campaign.recipients if state is None else now.counts.get(state, 0)
    with progress.bar("Receipts", wanted=wanted) as tell:
        counted = _CountedLines(file, lambda done: tell(done, total))
        return report.write_receipts(campaign, cast("TextIO", counted), state)


class _CountedLines:
    """A file that says now and then how many lines it got."""

    def __init__(self, file: TextIO, tell: Callable[[int], None], every: int = 1000) -> None:
        self._file, self._tell, self._every = file, tell, every
        self._lines = 0

    def write(self, text: str) -> int:
        self._lines += 1
        if self._lines % self._every == 0:
            self._tell(self._lines)
        return self._file.write(text)


@app.command()
def watch(
    id: Id, as_json: Annotated[bool, typer.Option("--json", help="A line of JSON every half second.")] = False
) -> None:
    """Show it live until it ends; Ctrl-C leaves it running. Exit code 1 when it failed."""
    _warn_when_it_waits(lifecycle.get(id))
    _watch(id, as_json=as_json)


def _watch(id: int, *, as_json: bool = False) -> None:
    from longwave.cli import campaign_view

    if campaign_view.watch(id, as_json=as_json) == CampaignState.FAILED:
        raise typer.Exit(1)


def _report_at_the_end(id: int) -> None:
    """One JSON document, when it has ended. After Ctrl-C too: of where it stands."""
    from longwave.cli import campaign_view

    waiting.warn_when_nothing_runs()
    try:
        code = 1 if campaign_view.wait(id) == CampaignState.FAILED else 0
    except KeyboardInterrupt:
        code = 130
    _print_json(report.report(lifecycle.get(id)))
    raise typer.Exit(code)


def _refuse_nobody(campaign: Campaign) -> None:
    """Raise Conflict when starting it would come to nothing."""
    if not outlook.has_audience(campaign):
        raise Conflict(_NOBODY)


def _tell_results(jobs: list[int], timeout: float, as_json: bool) -> None:
    """Wait for test messages, and say what became of each."""
    with progress.spinner("Waiting for a worker to send it…"):
        ended = [waiting.finished(job, timeout) for job in jobs]
    outcomes = [waiting.outcome(job) for job in ended]
    if as_json:
        results = [{"job": job.pk, "status": job.status, "error": job.error} for job in ended]
        _print_json({"jobs": jobs, "results": results})
    else:
        for job, (was_sent, sentence) in zip(ended, outcomes, strict=True):
            address = job.args.get("address", "")
            typer.echo(sentence if was_sent else f"{address}: {sentence}", err=not was_sent)
    if not all(was_sent for was_sent, _ in outcomes):
        raise typer.Exit(1)


def _content(text: str | None, parse_mode: str | None, path: Path | None) -> Mapping[str, Any]:
    if (text is None) == (path is None):
        raise InvalidInput(
            Problem("content", str(path) if path else None, "give either --text or --content, one of them")
        )
    if text is not None:
        return {"kind": "text", "text": text} | ({"parse_mode": parse_mode} if parse_mode else {})
    assert path is not None
    if parse_mode:
        remedy = 'belongs to --text; with --content it is a field of the file: "parse_mode"'
        raise InvalidInput(Problem("--parse-mode", parse_mode, remedy))
    source = sys.stdin.read() if str(path) == "-" else _read(path)
    try:
        data = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(Problem("content", str(path), f"is not JSON: {error}")) from None
    if not isinstance(data, dict):
        raise InvalidInput(Problem("content", str(path), 'must be a JSON object such as {"kind": "text", …}'))
    return data


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        remedy = f"cannot be read ({error.strerror}); name a readable JSON file, or - for standard input"
        raise InvalidInput(Problem("content", str(path), remedy)) from None
    except UnicodeDecodeError:
        raise InvalidInput(Problem("content", str(path), "is not UTF-8 text; save it as UTF-8")) from None


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            Problem("at", text, "must be an ISO time such as 2027-01-31T09:00+03:00")
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=timezone.get_default_timezone())
    if at <= datetime.now(UTC):
        raise InvalidInput(Problem("at", text, "has passed; give a time to come, or use `start`"))
    return at


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(
            Problem("rate", text, "must be a number of messages a second, or `sender`")
        ) from None


def _changed(campaign: Campaign, as_json: bool, words: str = "") -> None:
    if as_json:
        _print_json(report.report(campaign))
        return
    by_hand = campaign.reason.endswith("by hand")  # whoever typed it knows
    reason = f": {campaign.reason}" if campaign.reason and not by_hand else ""
    typer.echo(f"Campaign {campaign.pk} is {words or campaign.state}{reason}.")
    _warn_when_it_waits(campaign)


def _warn_when_it_waits(campaign: Campaign) -> None:
    """Say so when it waits for workers, and there are none."""
    if campaign.state in (CampaignState.PREPARING, CampaignState.RUNNING, CampaignState.SCHEDULED):
        waiting.warn_when_nothing_runs()


def _decided(count: int, words: str, nothing: str, as_json: bool) -> None:
    if as_json:
        _print_json({"deliveries": count})
    else:
        typer.echo(f"{_count(count, 'delivery', 'deliveries')} {words}." if count else nothing)


def _summary(campaign: Campaign, now: report.Progress) -> dict[str, Any]:
    head = {"id": campaign.pk, "name": campaign.name, "sender": campaign.sender.name, "state": now.state}
    return {**head, "reason": now.reason, "recipients": now.recipients, "pending": now.pending, **now.counts}


def _estimate_sentence(guess: outlook.Estimate) -> str:
    parts = [_count(guess.recipients, "recipient")]
    if guess.messages != guess.recipients:
        parts.append(f"{guess.messages:,} messages")
    parts.append(f"at {guess.rate:g}/s" if guess.rate else "at no limit")
    if guess.seconds is not None and guess.recipients:
        parts.append("under a second" if guess.seconds < 1 else f"about {duration(guess.seconds)}")
    if guess.stars:
        parts.append(f"{guess.stars:,.0f} Stars")
    return ", ".join(parts)


def _count(number: int, one: str, many: str = "") -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))
