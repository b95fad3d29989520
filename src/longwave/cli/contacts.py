"""Recipients: import them, count them, look one up; lists and segments."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from longwave import config
from longwave.cli import progress, tables
from longwave.cli.answers import AsJson
from longwave.contacts import importing, lists, saved_segments, segments, values
from longwave.contacts.audience import audience
from longwave.contacts.models import Contact, ContactList
from longwave.core.errors import InvalidInput, NotFound, Problem
from longwave.core.text import storable

app = typer.Typer(no_args_is_help=True, help="Import and look up recipients, lists and segments.")
segment_app = typer.Typer(no_args_is_help=True, help="Filters over contacts, kept under a name.")
app.add_typer(segment_app, name="segment")

_STDIN = "standard input"
Channel = Annotated[str, typer.Option(help=f"One of {', '.join(values.CHANNELS)}.")]


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="A CSV file; its first line names the columns. - reads standard input.")
    ],
    channel: Channel = "telegram",
    list_: Annotated[str | None, typer.Option("--list", help="Put everybody on this list.")] = None,
    rejects: Annotated[Path | None, typer.Option(help="Write rows that were left out here, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Import contacts from a CSV file. Importing a file again changes nothing.

    Exit code 2 when not one row could be imported.
    """
    if rejects is not None and rejects.exists() and file.exists() and rejects.samefile(file):
        raise InvalidInput(Problem("--rejects", str(rejects), "is the file to import; name another one"))
    home = config.current().home
    name = _STDIN if str(file) == "-" else str(file)
    try:
        with _opened(file) as opened, _for_this(name, list_):
            with progress.bar("Importing", of_bytes=True) as tell:
                report = importing.import_csv(
                    opened,
                    channel=channel,
                    contact_list=lists.get_or_create(list_, channel) if list_ is not None else None,
                    on_progress=tell,
                    rejects=rejects,
                    spool_folder=home if home.is_dir() else None,
                )
            if as_json:
                typer.echo(json.dumps(report.to_json(), ensure_ascii=False))
            else:
                _show_report(report, list_, rejects)
            _refuse_when_nothing_was_imported(report)
    except KeyboardInterrupt:
        typer.echo("Stopped. What was imported stays; import the file again for the rest.", err=True)
        raise typer.Exit(130) from None


@app.command("lists")
def lists_(as_json: AsJson = False) -> None:
    """Every list with its size."""
    found = lists.summaries()
    if as_json:
        rows = [{"name": row.name, "channel": row.channel, "members": row.members} for row in found]
        typer.echo(json.dumps(rows, ensure_ascii=False))
    elif not found:
        typer.echo("No lists yet. Make one: longwave contacts import FILE.csv --list NAME")
    else:
        _print_table(
            ("list", "channel", "contacts"), [(row.name, row.channel, f"{row.members:,}") for row in found]
        )


@app.command()
def count(
    list_: Annotated[str | None, typer.Option("--list", help="On this list.")] = None,
    segment: Annotated[str | None, typer.Option(help="In this segment.")] = None,
    channel: Annotated[
        str | None, typer.Option(help="On this channel; the list's, or telegram, unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How many contacts a campaign to this list and segment would go to."""
    contact_list = lists.by_name(list_) if list_ is not None else None
    chosen = saved_segments.by_name(segment) if segment is not None else None
    channel = _channel(channel, contact_list)
    with progress.spinner("Counting…"):
        reachable = audience(contact_list, chosen, channel).count()
        statuses = lists.counts(contact_list) if contact_list is not None else None
    if as_json:
        document = {"list": list_, "segment": segment, "channel": channel, "count": reachable}
        typer.echo(json.dumps(document | ({"on_list": statuses} if statuses else {}), ensure_ascii=False))
        return
    typer.echo(f"{_contacts(reachable)} can be written to.")
    if statuses:
        shown = ", ".join(f"{number:,} {status}" for status, number in statuses.items())
        typer.echo(f"On the list: {shown}.")


@app.command()
def show(
    address: Annotated[str, typer.Argument(help="A chat id or an address. Write -- before a negative id.")],
    channel: Annotated[str | None, typer.Option(help="Only on this channel.")] = None,
    as_json: AsJson = False,
) -> None:
    """Everything known of one contact."""
    asked = storable(address.strip())
    found = Contact.objects.filter(address__in={asked, asked.lower()}).order_by("id")
    documents = [_fields(contact) for contact in (found.filter(channel=channel) if channel else found)]
    if not documents:
        where = f" on {channel}" if channel else ""
        raise NotFound(
            f"There is no contact {address!r}{where}. Import one: longwave contacts import FILE.csv"
        )
    if as_json:
        typer.echo(json.dumps(documents, ensure_ascii=False, default=str))
        return
    for document in documents:
        _print_table(("field", "value"), [(name, _cell(value)) for name, value in document.items()])


@segment_app.command()
def save(
    name: Annotated[str, typer.Argument(help="What you will call it.")],
    file: Annotated[str, typer.Argument(help="A JSON file, or - for standard input.")],
    as_json: AsJson = False,
) -> None:
    """Keep a filter under a name; a segment that had it is replaced."""
    segment = segments.parse(_read_json(file))
    row = saved_segments.save(name, segment)
    if as_json:
        typer.echo(json.dumps({"name": row.name, "filter": row.filter}, ensure_ascii=False))
    else:
        typer.echo(f"Saved {row.name}. Whom it holds: longwave contacts count --segment {row.name!r}")


@segment_app.command("show")
def show_segment(
    name: Annotated[str, typer.Argument(help="The segment's name.")], as_json: AsJson = False
) -> None:
    """A segment's filter, as JSON."""
    filter_ = segments.to_json(saved_segments.by_name(name))
    typer.echo(json.dumps(filter_, ensure_ascii=False, indent=None if as_json else 2))


@segment_app.command("list")
def list_segments(as_json: AsJson = False) -> None:
    """Every segment's name."""
    names = saved_segments.names()
    if as_json:
        typer.echo(json.dumps(names, ensure_ascii=False))
    else:
        typer.echo(
            "\n".join(names) or "No segments yet. Save one: longwave contacts segment save NAME FILE.json"
        )


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    if str(file) == "-":
        if sys.stdin.isatty():
            typer.echo("Reading standard input; end it with Ctrl-D.", err=True)
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        remedy = f"cannot be read ({error.strerror}); name a readable CSV file, or - for standard input"
        raise InvalidInput(Problem("FILE", str(file), remedy)) from None


@contextmanager
def _for_this(name: str, list_name: str | None) -> Iterator[None]:
    """A refused file is named by its name, and leaves no empty list behind."""
    was_there = list_name is None or ContactList.objects.filter(name=storable(list_name.strip())).exists()
    try:
        yield
    except InvalidInput as error:
        if list_name is not None and not was_there:
            ContactList.objects.filter(name=list_name.strip(), membership=None).delete()
        raise InvalidInput(
            *(
                Problem("FILE", name, problem.remedy) if problem.field == "file" else problem
                for problem in error.problems
            )
        ) from None


def _refuse_when_nothing_was_imported(report: importing.ImportReport) -> None:
    if not report.rows or report.rejected < report.rows:
        return
    first = next((f"line {each.line}: {each.reason}" for each in report.examples if each.line > 1), None)
    why = first or "--rejects FILE writes down why"
    remedy = f"not one of its {_number(report.rows, 'row')} could be imported; {why}"
    raise InvalidInput(Problem("file", "", remedy))


def _show_report(report: importing.ImportReport, list_name: str | None, rejects: Path | None) -> None:
    typer.echo(
        f"{_number(report.rows, 'row')}: {report.added:,} added, {report.changed:,} changed, "
        f"{report.unchanged:,} unchanged, {_number(report.duplicates, 'duplicate')}, "
        f"{report.rejected:,} rejected."
    )
    if list_name is not None and report.rejected < report.rows:
        typer.echo(f"List {list_name!r}: {report.joined:,} joined, {report.already_on_list:,} were on it.")
        if report.joined:
            draft = f"longwave campaign create --sender NAME --list {shlex.quote(list_name)} --text '…'"
            typer.echo(f"Next, a message for it: {draft}")
    if report.gone or report.unsubscribed:
        typer.echo(
            f"Not written to: {report.gone:,} gone, {report.unsubscribed:,} unsubscribed; they stay so."
        )
    for reason in report.left_out:
        typer.echo(f"Note: {reason}.", err=True)
    if not report.rejected:
        return
    for example in [each for each in report.examples if each.line > 1][:5]:
        typer.echo(f"Line {example.line}: {example.reason}.", err=True)
    if rejects is not None:
        typer.echo(f"Every rejected row with its reason: {rejects}", err=True)
    elif report.rejected > 5:
        typer.echo("All of them with their reasons: import again with --rejects FILE.", err=True)


def _read_json(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
        return json.loads(text)
    except OSError as error:
        remedy = f"cannot be read ({error.strerror}); name a readable JSON file, or -"
        raise InvalidInput(Problem("FILE", file, remedy)) from None
    except (ValueError, RecursionError) as error:  # ValueError: bad JSON, or bytes that are not UTF-8
        raise InvalidInput(Problem("FILE", file, f"is not JSON ({error})")) from None


def _channel(given: str | None, contact_list: ContactList | None) -> str:
    channel = given or (contact_list.channel if contact_list else "telegram")
    if channel not in values.CHANNELS:
        raise InvalidInput(Problem("--channel", channel, f"must be one of {', '.join(values.CHANNELS)}"))
    if contact_list is not None and contact_list.channel != channel:
        remedy = f"list {contact_list.name!r} holds {contact_list.channel} contacts; leave --channel out"
        raise InvalidInput(Problem("--channel", channel, remedy))
    return channel


def _fields(contact: Contact) -> dict[str, Any]:
    on = ContactList.objects.filter(membership__contact=contact).order_by("name")
    return {
        "id": contact.pk,
        "channel": contact.channel,
        "address": contact.address,
        "status": contact.status,
        "status_reason": contact.status_reason,
        "status_at": _moment(contact.status_at),
        "language": contact.language,
        "timezone": contact.timezone,
        "first_seen": _moment(contact.first_seen),
        "last_seen": _moment(contact.last_seen),
        "lists": list(on.values_list("name", flat=True)),
        "attributes": contact.attributes,
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") if at is not None else None


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {item}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _contacts(number: int) -> str:
    return _number(number, "contact")


def _number(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = tables.table(*header)
    for row in rows:
        table.add_row(*row)
    tables.show(table)
