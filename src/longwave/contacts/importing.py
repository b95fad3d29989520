"""Import of contacts from a CSV file: streaming, repeatable, and every row accounted for.

The header names the columns: one with the address (`chat_id`, `email`, …), perhaps `language` and `timezone`;
every other column is an attribute. Cells are trimmed. An empty cell says nothing: it sets no attribute and
overwrites none. A cell that spells a number exactly as we would (`42`, `-0.5`, not `007` or `1.50`) becomes
one; every other stays text, `true` and `false` too.

A row for a contact that is there already adds and overwrites the attributes it has, and keeps the others. It
never changes whether the contact may be written to: who is gone or has unsubscribed stays so, and is counted.

The file is read and checked first, onto a spool on disk; then chunk after chunk is written in a transaction
of its own. A killed import is started again: what is there already is found unchanged.
"""

import csv
import io
import os
import re
import unicodedata
import zoneinfo
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import orjson
from django.db import transaction

from longwave.contacts import ledger, values
from longwave.contacts.ledger import Known, Row
from longwave.contacts.models import ContactList, ContactStatus
from longwave.contacts.reading import Broken, Record, Table
from longwave.contacts.spool import Spool
from longwave.core.errors import InvalidInput, Problem
from longwave.database import persist

CHUNK = 2000
"""Rows a transaction: some 50 ms, in which nobody else writes to a SQLite database."""

EXAMPLES = 10
READING_SHARE = 0.25
"""Of the whole time, roughly: the rest is the database's."""

GIVE_UP_AFTER = 60.0
"""Seconds a chunk waits for a database that is busy or restarting."""

ADDRESS_COLUMNS = {
    "telegram": ("chat_id", "telegram_id", "user_id", "id"),
    "email": ("email", "address", "e_mail"),
    "memory": ("address", "email"),
}
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all). Reading counts a quarter of the bytes, storing three; while a pipe is
being read, nobody knows how many bytes there are, and the second number is 0."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row, or (line 1) a column, that was left out, and why. `text` is the line as it stood."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of every row: `rows` = added + changed + unchanged + duplicates + rejected.

    duplicates: rows overruled by a later row of the file with the same address.
    joined, already_on_list: contacts that were put on the list, and that were on it before.
    gone, unsubscribed: contacts among them that will not be written to, and stay so.
    left_out: columns that are no attribute, each with the reason. examples: the first rejects.
    """

    rows: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    duplicates: int = 0
    rejected: int = 0
    joined: int = 0
    already_on_list: int = 0
    gone: int = 0
    unsubscribed: int = 0
    left_out: tuple[str, ...] = ()
    examples: tuple[Reject, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def import_csv(
    file: BinaryIO,
    *,
    channel: str,
    contact_list: ContactList | None,
    on_progress: Progress | None = None,
    rejects: Path | None = None,
    spool_folder: Path | None = None,
) -> ImportReport:
    """Import a CSV file.

    rejects: gets a CSV of every row left out, with line number and reason; written anew, with its header only
    when there are none. spool_folder: where about twice the file's size of disk is taken meanwhile (None: the
    system's temporary folder). Raises InvalidInput when the file as a whole cannot be one of contacts;
    nothing is changed then.
    """
    if channel not in ADDRESS_COLUMNS:
        raise InvalidInput(Problem("channel", channel, f"must be one of {', '.join(ADDRESS_COLUMNS)}"))
    if contact_list is not None and contact_list.channel != channel:
        raise InvalidInput(
            Problem("list", contact_list.name, f"holds {contact_list.channel} contacts, not {channel}")
        )
    table = Table(file)
    columns = Columns(table.header, channel)
    size = _size(file)
    tell = on_progress or (lambda done, total: None)
    with closing(_Rejects(rejects)) as rejected, closing(Spool(spool_folder)) as spool:
        for reason in columns.left_out:
            rejected.add(1, reason, table.delimiter.join(table.header))
        rows = 0
        for entry in table.records():
            rows += 1
            row = columns.row(entry) if isinstance(entry, Record) else entry
            if isinstance(row, Broken):
                rejected.add(row.line, row.reason, row.text)
            else:
                spool.add(row)
            if rows % CHUNK == 0:
                tell(int(table.bytes_read * READING_SHARE), size)
        size = size or table.bytes_read  # of a pipe it is known now
        totals = _store(spool, channel, contact_list, lambda share: tell(_stored(size, share), size))
        tell(size, size)
        return ImportReport(
            **totals,
            rows=rows,
            rejected=rows - spool.count,
            left_out=tuple(columns.left_out),
            examples=tuple(rejected.examples),
        )


class Columns:
    """What the columns of a file mean, and how a record becomes a row."""

    def __init__(self, header: list[str], channel: str) -> None:
        """Raises InvalidInput when no column holds the address."""
        names = [column_name(cell) for cell in header]
        self._width = len(names)
        self._channel = channel
        self._address = _address_column(names, channel)
        self._language = names.index("language") if "language" in names else None
        self._timezone = names.index("timezone") if "timezone" in names else None
        self._attributes: list[tuple[int, str]] = []
        self.left_out: list[str] = []
        taken = {self._address, self._language, self._timezone}
        for position, name in enumerate(names):
            if position not in taken:
                self._take_attribute(position, name, header[position])

    def _take_attribute(self, position: int, name: str, cell: str) -> None:
        reason = values.attribute_name_problem(name)
        if reason is None and any(name == other for _, other in self._attributes):
            reason = "is there twice; the first one counts"
        if name in ("language", "timezone"):
            reason = "is there twice; the first one counts"
        if reason is None:
            self._attributes.append((position, name))
        else:
            self.left_out.append(
                f"column {position + 1} ({cell.strip()[:60]!r}) is left out: its name {reason}"
            )

    def row(self, record: Record) -> Row | Broken:
        """The record as a row to store, or why it cannot be one."""
        cells = record.cells
        try:
            if len(cells) != self._width:
                raise ValueError(f"it has {_cells(len(cells))}; the header has {self._width}")
            address = values.address(self._channel, cells[self._address])
            language = "" if self._language is None else _language(cells[self._language])
            timezone = "" if self._timezone is None else _timezone(cells[self._timezone])
        except ValueError as error:
            return Broken(record.line, str(error), record.text)
        attributes = {
            name: values.cell(text)
            for position, name in self._attributes
            if (text := cells[position].strip())
        }
        return address, language, timezone, orjson.dumps(attributes).decode() if attributes else "{}"


def column_name(cell: str) -> str:
    """A header's cell as a name: `Chat ID ` is `chat_id`, `First-Name` is `first_name`."""
    words = re.split(r"[\s\-.]+", unicodedata.normalize("NFC", cell).strip().lower())
    return "_".join(words)


def _address_column(names: list[str], channel: str) -> int:
    aliases = ADDRESS_COLUMNS[channel]
    for alias in aliases:
        found = [at for at, name in enumerate(names) if name in (alias, alias.replace("_", ""))]
        if len(found) > 1:
            places = " and ".join(str(at + 1) for at in found)
            remedy = f"has {len(found)} columns {alias!r} ({places}); leave the one with the addresses alone"
            raise InvalidInput(Problem("header", ", ".join(names), remedy))
        if found:
            return found[0]
    others = f" ({', '.join(aliases[1:])} would do too)" if aliases[1:] else ""
    remedy = f"has no column {aliases[0]!r}{others}; the first line must name the columns"
    raise InvalidInput(Problem("header", ", ".join(names), remedy))


@lru_cache(maxsize=1024)
def _language(text: str) -> str:
    tag = values.language(text)
    if tag and (len(tag) > 16 or not _LANGUAGE.fullmatch(tag)):
        raise ValueError(f"language {text[:40]!r} is not a tag such as de or pt-BR")
    return tag


@lru_cache(maxsize=1024)
def _timezone(text: str) -> str:
    name = text.strip()
    if name and name not in _timezones():
        raise ValueError(f"timezone {text[:60]!r} is not a name such as Europe/Berlin")
    return name


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) | {"UTC"}


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


class _Rejects:
    """The file of rejects, if one is wanted, and the first of them in memory."""

    def __init__(self, path: Path | None) -> None:
        self.examples: list[Reject] = []
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("w", encoding="utf-8", newline="")
            except OSError as error:
                raise InvalidInput(
                    Problem("rejects", str(path), f"cannot be written ({error.strerror}); name another file")
                ) from None
        self._writer = csv.writer(self._file or io.StringIO())
        if self._file:
            self._writer.writerow(("line", "reason", "row"))

    def add(self, line: int, reason: str, text: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(Reject(line, reason, text))
        if self._file:
            self._writer.writerow((line, reason, text))

    def close(self) -> None:
        if self._file:
            self._file.close()


@dataclass(slots=True)
class _Totals:
    """What became of the rows of a chunk, or of all chunks so far."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    duplicates: int = 0
    joined: int = 0
    already_on_list: int = 0
    gone: int = 0
    unsubscribed: int = 0

    def add(self, other: "_Totals") -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def _store(
    spool: Spool, channel: str, contact_list: ContactList | None, tell: Callable[[float], None]
) -> dict[str, int]:
    totals = _Totals()
    list_id = None if contact_list is None else contact_list.pk
    done = 0
    for rows in spool.chunks(CHUNK):
        totals.add(persist(partial(_store_chunk, rows, channel, list_id), give_up_after=GIVE_UP_AFTER))
        done += len(rows)
        tell(done / spool.count)
    totals.duplicates = spool.count - done
    return asdict(totals)


@transaction.atomic
def _store_chunk(rows: list[Row], channel: str, list_id: int | None) -> _Totals:
    """Write what differs from what is there.

    Counts are of what this transaction saw: another import of the same people at the same moment may have
    been first, and the rows are right all the same.
    """
    known = ledger.known(channel, [row[0] for row in rows], list_id)
    news = [row for row in rows if row[0] not in known or _is_news(row, known[row[0]])]
    ledger.upsert(channel, news)
    statuses = [contact.status for contact in known.values()]
    totals = _Totals(added=len(rows) - len(known), gone=statuses.count(ContactStatus.GONE))
    totals.unsubscribed = statuses.count(ContactStatus.UNSUBSCRIBED)
    totals.changed = len(news) - totals.added
    totals.unchanged = len(rows) - len(news)
    if list_id is not None:
        outside = [row[0] for row in rows if row[0] not in known or not known[row[0]].is_on_list]
        totals.joined = ledger.join_list_by_address(list_id, channel, outside)
        totals.already_on_list = len(rows) - len(outside)
    return totals


def _is_news(row: Row, contact: Known) -> bool:
    """Whether the row says anything that the contact does not know yet."""
    _, language, timezone, attributes = row
    if language not in ("", contact.language) or timezone not in ("", contact.timezone):
        return True
    if attributes == "{}":
        return False
    missing = object()
    for name, value in orjson.loads(attributes).items():
        there = contact.attributes.get(name, missing)
        if there != value or type(there) is not type(value):  # 1, 1.0 and True are equal, and not the same
            return True
    return False


def _stored(size: int, share: float) -> int:
    return int(size * (READING_SHARE + (1 - READING_SHARE) * share))


def _size(file: BinaryIO) -> int:
    """Bytes in the file; 0 when it is a pipe."""
    try:
        return os.fstat(file.fileno()).st_size
    except (OSError, io.UnsupportedOperation):
        pass
    if not file.seekable():
        return 0
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end
