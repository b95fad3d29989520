"""Bot tokens and their limits; and one message now. A token goes in, and never comes out."""

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from longwave.cli import progress, tables, waiting
from longwave.cli.answers import AsJson
from longwave.core.errors import InvalidInput, Problem
from longwave.jobs.models import Job, Status
from longwave.pacing import ledger
from longwave.senders import notify, senders
from longwave.senders.models import Sender

app = typer.Typer(no_args_is_help=True, help="Bot tokens and their limits.")

Name = Annotated[str, typer.Argument(help="The sender's name.")]
TokenStdin = Annotated[bool, typer.Option("--token-stdin", help="Read the token from standard input.")]

_ASKING = "Asking its provider…"


@app.command()
def add(
    channel: Annotated[str, typer.Argument(help="How it sends: telegram.")],
    name: Annotated[str, typer.Option(help="What you will call it.")],
    token_stdin: TokenStdin = False,
    rate: Annotated[float | None, typer.Option(help="Sends a second; 0 is unlimited.")] = None,
    preset: Annotated[str | None, typer.Option(help="Instead of a rate: cautious, standard or paid.")] = None,
    base_url: Annotated[str, typer.Option(help="A local or fake Bot API server.")] = "",
    admin_chat: Annotated[list[str] | None, typer.Option(help="Who is told when something stops.")] = None,
    bulk_share: Annotated[float, typer.Option(help="The part of the rate that campaigns may use.")] = 1.0,
    region: Annotated[str, typer.Option(help="Only workers of this region send its campaigns.")] = "",
    as_json: AsJson = False,
) -> None:
    """Add a sender, once its provider has accepted the token."""
    token = _token(token_stdin)
    with progress.spinner(_ASKING):
        sender = senders.add(
            channel,
            name,
            token,
            rate=rate,
            preset=preset,
            base_url=base_url,
            admin_chats=admin_chat or [],
            bulk_share=bulk_share,
            region=region,
        )
    _answer(sender, as_json, f"Added {name}: {sender.account['name']}, {_rate(sender)}.")
    if sender.region and not as_json:
        typer.echo(
            f"Its campaigns wait for workers of region {region}: longwave worker --region {region}, "
            "or stop and start `longwave up`, which serves every region that it finds."
        )
    if not as_json:
        typer.echo("Next, its recipients: longwave contacts import FILE.csv --list NAME")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every sender."""
    found = senders.all_senders()
    if as_json:
        typer.echo(json.dumps([_fields(sender) for sender in found]))
    elif not found:
        typer.echo("No senders yet. Add one: longwave sender add telegram --name NAME")
    else:
        _print_table(found)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """One sender, and whether it is held."""
    sender = senders.by_name(name)
    if as_json:
        typer.echo(json.dumps(_fields(sender)))
        return
    known = _fields(sender).items()
    tables.show(tables.facts((name.replace("_", " "), _readable(value)) for name, value in known))


@app.command()
def rate(
    name: Name,
    per_second: Annotated[float, typer.Argument(help="Sends a second; 0 is unlimited.")],
    as_json: AsJson = False,
) -> None:
    """Change the rate, also while campaigns are sending."""
    sender = senders.set_rate(name, per_second)
    _answer(sender, as_json, f"{name}: {_rate(sender)}.")


@app.command()
def enable(name: Name, token_stdin: TokenStdin = False, as_json: AsJson = False) -> None:
    """Let a broken sender send again, once its provider accepts it; perhaps with a new token."""
    token = _token(True) if token_stdin else None
    with progress.spinner(_ASKING):
        sender = senders.enable(name, token)
    _answer(sender, as_json, f"{name} may send.")


@app.command()
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a sender and its token."""
    senders.remove(name)
    typer.echo(json.dumps({"removed": name}) if as_json else f"Removed {name}.")


def send(
    sender: Annotated[str, typer.Option(help="The sender's name.")],
    to: Annotated[str, typer.Option(help="The chat id.")],
    text: Annotated[str | None, typer.Option(help="The text.")] = None,
    content: Annotated[
        str | None, typer.Option(help="Or a JSON file with any content; - reads it from standard input.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it was sent.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait at most.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Send one message now, ahead of campaigns."""
    if not to.strip():
        raise InvalidInput(Problem("--to", to, "is empty; give the chat's id"))
    by = senders.by_name(sender)
    handle = notify.notify(by, to.strip(), _content(by, text, content))
    waiting.warn_when_nothing_runs()
    if wait:
        with progress.spinner("Waiting for a worker to send it…"):
            job = waiting.finished(handle.id, timeout)
        _report(job, as_json)
    elif as_json:
        typer.echo(json.dumps({"job": handle.id, "status": Status.QUEUED}))
    else:
        typer.echo(f"Job {handle.id} will send it.")


def _token(from_stdin: bool) -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Token (not shown): ", stream=sys.stderr)
    if not from_stdin:
        remedy = "there is no terminal to ask for the token; give the option, and the token on standard input"
        raise InvalidInput(Problem("--token-stdin", False, remedy))
    return sys.stdin.readline()


def _content(sender: Sender, text: str | None, path: str | None) -> dict[str, Any]:
    if text is not None and path is None:
        return notify.plain_text(sender, text)
    if text is not None or path is None:
        raise InvalidInput(Problem("--text", text, "give either --text or --content FILE"))
    try:
        data = json.loads(sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            Problem("--content", path, f"cannot be read ({error.strerror}); name a JSON file")
        ) from None
    except ValueError as error:
        raise InvalidInput(Problem("--content", path, f"is not JSON ({error})")) from None
    if not isinstance(data, dict):
        raise InvalidInput(Problem("--content", path, 'must hold an object such as {"kind": "text", …}'))
    return data


def _report(job: Job, as_json: bool) -> None:
    was_sent, sentence = waiting.outcome(job)
    if as_json:
        document = {"job": job.id, "status": job.status, "error": job.error} | (job.result or {})
        typer.echo(json.dumps(document, ensure_ascii=False))
    else:
        typer.echo(sentence, err=not was_sent)
    if not was_sent:
        raise typer.Exit(1)


def _answer(sender: Sender, as_json: bool, sentence: str) -> None:
    typer.echo(json.dumps(_fields(sender)) if as_json else sentence)


def _fields(sender: Sender) -> dict[str, Any]:
    """What may be shown of a sender: everything but its credentials."""
    state = ledger.state(senders.limit_key(sender.id))
    return {
        "id": sender.id,
        "name": sender.name,
        "channel": sender.channel,
        "account": _account(sender),
        "rate": sender.rate,
        "burst_guard": sender.burst_guard,
        "bulk_share": sender.bulk_share,
        "region": sender.region,
        "base_url": sender.base_url,
        "admin_chats": sender.admin_chats,
        "status": sender.status,
        "status_reason": sender.status_reason,
        "held_seconds": round(state.held_seconds, 1),
        "held_reason": state.held_reason if state.held_seconds else "",
    }


def _print_table(found: list[Sender]) -> None:
    """One line a sender; the region only where there are any."""
    has_regions = any(sender.region for sender in found)
    table = tables.table(
        "Name", "Channel", "Account", ">Rate", *(["Region"] if has_regions else []), "Status"
    )
    for sender in found:
        region = [sender.region] if has_regions else []
        cells = [sender.name, sender.channel, _account(sender), _rate(sender), *region, _status(sender)]
        table.add_row(*cells)
    tables.show(table)


def _readable(value: Any) -> str:
    if value is None:
        return "unlimited"
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value)) or "–"


def _account(sender: Sender) -> str:
    return str(sender.account.get("name", ""))


def _rate(sender: Sender) -> str:
    return f"{sender.rate:g}/s" if sender.rate else "unlimited"


def _status(sender: Sender) -> str:
    return f"{sender.status}: {sender.status_reason}" if sender.status_reason else sender.status
