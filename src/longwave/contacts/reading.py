"""Reading a CSV file of any size from anybody: a bad line is named and passed over, and memory stays small.

Python's csv module alone would give up a file for one NUL byte, and take all that follows a stray quote for
one cell.
"""

import codecs
import csv
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from longwave.core.errors import InvalidInput, Problem

BLOCK = 1 << 18
LONGEST_LINE = 65_536
LONGEST_RECORD = 100
"""Lines a quoted cell may go over. A quote that is open for longer was never meant to be."""

RESAVE = "; save the file as CSV UTF-8 (or convert it: iconv -f WINDOWS-1252 -t UTF-8) and import that"
"""What follows on bytes that are no text: most such files come from Windows, in one of its old encodings."""

MOST_COLUMNS = 500
DELIMITERS = ",;\t|"

_UNREADABLE = "\udcff"  # stands for bytes that are no text; no valid encoding gives a lone surrogate
_OVERLONG = "\udcfe"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _mark_unreadable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _UNREADABLE, error.end


codecs.register_error("longwave.mark", _mark_unreadable)


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its first line (the file's first is 1), its cells, and the line as it stood."""

    line: int
    cells: list[str]
    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that is no row, and why."""

    line: int
    reason: str
    text: str


class Table:
    """A CSV file: its `header`, then its `records`, read as they are asked for. `bytes_read`: how far."""

    def __init__(self, file: BinaryIO) -> None:
        """Reads the header. Raises InvalidInput when there is none."""
        self._file = file
        self._start = file.read(BLOCK)
        self.bytes_read = len(self._start)
        self.encoding = next(
            (name for mark, name in _BYTE_ORDER_MARKS if self._start.startswith(mark)), "utf-8"
        )
        self._lines = self._read_lines()
        self._line = 0
        line = self._header_line()
        if line.lower().startswith("sep=") and len(line) == 5:  # Excel's own way to name the delimiter
            self.delimiter = line[4]
            line = self._header_line()
        else:
            self.delimiter = max(DELIMITERS, key=_outside_quotes(line).count)
        self.header = self._header(line)

    def records(self) -> Iterator[Record | Broken]:
        """Every row below the header, good or broken, in order. Blank lines are passed over."""
        waiting: deque[str] = deque()
        delimiter = self.delimiter
        while True:
            line = waiting.popleft() if waiting else next(self._lines, None)
            if line is None:
                return
            self._line += 1
            if fault := self._fault(line):
                remedy = RESAVE if _UNREADABLE in line else ""
                yield Broken(self._line, fault + remedy, _shown(line))
            elif '"' in line:
                yield self._quoted(line, waiting)
            elif line and not line.isspace():
                yield Record(self._line, line.split(delimiter), line)

    def _quoted(self, line: str, waiting: deque[str]) -> Record | Broken:
        """The row that begins with a line that has quotes in it, and may go over the following ones."""
        number = self._line
        cells, fault = self._parse(line)
        if cells is not None:
            return Record(number, cells, line)
        if fault != _OPEN:
            return Broken(number, f"its quotes are broken: {fault}", _shown(line))
        taken: list[str] = []
        length = len(line)
        while len(taken) < LONGEST_RECORD and length <= LONGEST_LINE:
            following = waiting.popleft() if waiting else next(self._lines, None)
            if following is None:
                break
            taken.append(following)
            length += len(following)
            if self._fault(following):
                break
            if '"' in following:
                text = "\n".join((line, *taken))
                cells, fault = self._parse(text)
                if cells is not None and len(cells) == len(self.header):
                    self._line += len(taken)
                    return Record(number, cells, text)
                if fault != _OPEN:
                    break
        # The quote was a slip: only its own line is lost, the lines behind it are read again.
        waiting.extendleft(reversed(taken))
        return Broken(number, "its quotes are broken: one is opened and never closed", _shown(line))

    def _parse(self, text: str) -> tuple[list[str] | None, str]:
        rows = csv.reader((text,), delimiter=self.delimiter, strict=True)
        try:
            return next(rows), ""
        except csv.Error as error:
            return None, str(error)

    def _fault(self, line: str) -> str | None:
        if not line.isascii():
            if _UNREADABLE in line:
                return f"it is not {self.encoding.removesuffix('-sig').upper()} text"
            if _OVERLONG in line:
                return f"it is longer than {LONGEST_LINE:,} characters"
        return "it has NUL bytes" if "\0" in line else None

    def _header_line(self) -> str:
        for line in self._lines:
            self._line += 1
            if self._start.startswith(b"PK\x03\x04"):
                raise InvalidInput(
                    Problem("file", "a spreadsheet or ZIP", "save it as CSV (UTF-8) and import that")
                )
            if fault := self._fault(line):
                remedy = f"its line {self._line} cannot be read: {fault}{RESAVE}"
                raise InvalidInput(Problem("file", _shown(line)[:60], remedy))
            if line and not line.isspace():
                return line
        raise InvalidInput(Problem("file", "", "is empty; its first line must name the columns"))

    def _header(self, line: str) -> list[str]:
        cells, fault = self._parse(line)
        if cells is None:
            raise InvalidInput(Problem("header", line[:60], f"its quotes are broken: {fault}"))
        if len(cells) > MOST_COLUMNS:
            raise InvalidInput(
                Problem("header", f"{len(cells)} columns", f"{MOST_COLUMNS} columns are allowed")
            )
        return cells

    def _read_lines(self) -> Iterator[str]:
        """Lines without their ends. One that is too long comes as a mark, and its rest is dropped."""
        decoder = codecs.getincrementaldecoder(self.encoding)(errors="longwave.mark")
        newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
        rest = ""
        block = self._start
        while block:
            *lines, rest = (rest + newlines.decode(block)).split("\n")
            for line in lines:
                yield line if len(line) <= LONGEST_LINE else line[:100] + _OVERLONG
            if len(rest) > LONGEST_LINE:
                rest = rest[:100] + _OVERLONG + "." * LONGEST_LINE  # stays too long until its end comes
            block = self._file.read(BLOCK)
            self.bytes_read += len(block)
        rest += newlines.decode(b"", final=True)
        if rest:
            yield rest if len(rest) <= LONGEST_LINE else rest[:100] + _OVERLONG


_OPEN = "unexpected end of data"


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _shown(line: str) -> str:
    """A bad line in a form every file and terminal takes."""
    return line[:1000].replace(_UNREADABLE, "\ufffd").replace(_OVERLONG, "…").replace("\0", "\ufffd")
