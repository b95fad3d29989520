"""Rows on their way from a file to the database, kept on disk, and which of them come again in the file."""

import marshal
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from longwave.contacts.ledger import Row

PARTS = 64
PART_BUFFER = 2048


class Spool:
    """An unnamed temporary file of rows, in order. In memory: a chunk of them, and 8 bytes for each
    overruled.

    Of rows with the same address the last one counts, wherever in the file it stands: only so does importing
    a file twice change nothing.
    """

    def __init__(self, folder: Path | None, *, chunk: int) -> None:
        self._folder = folder
        self._chunk = chunk
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by close)
        self._rows: list[Row] = []
        self._parts = [_Part(folder) for _ in range(PARTS)]
        self.count = 0

    def add(self, row: Row) -> None:
        """Append a row."""
        self._parts[hash(row[0]) % PARTS].add(row[0], self.count)
        self.count += 1
        self._rows.append(row)
        if len(self._rows) == self._chunk:
            self._flush()

    def chunks(self) -> Iterator[tuple[list[Row], int]]:
        """Every chunk's rows that count, and how many do not because the same address comes again later."""
        self._flush()
        overruled = self._overruled()
        self._file.seek(0)
        start = 0
        while start < self.count:
            rows = marshal.load(self._file)  # noqa: S302 (our own unnamed file)
            out = overruled[bisect_left(overruled, start) : bisect_left(overruled, start + len(rows))]
            for position in reversed(out):
                del rows[position - start]
            start += len(rows) + len(out)
            yield rows, len(out)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
        for part in self._parts:
            part.close()

    def _flush(self) -> None:
        if self._rows:
            marshal.dump(self._rows, self._file)
            self._rows = []

    def _overruled(self) -> "array[int]":
        found = array("Q")
        for part in self._parts:
            last: dict[str, int] = {}
            for address, position in part.entries():
                if (earlier := last.get(address)) is not None:
                    found.append(earlier)
                last[address] = position
        return array("Q", sorted(found))


class _Part:
    """Addresses with the same hash, and their positions: few enough to be looked at together."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._entries: list[tuple[str, int]] = []

    def add(self, address: str, position: int) -> None:
        self._entries.append((address, position))
        if len(self._entries) == PART_BUFFER:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by close)
            marshal.dump(self._entries, self._file)
            self._entries = []

    def entries(self) -> Iterator[tuple[str, int]]:
        if self._file is not None:
            end = self._file.tell()
            self._file.seek(0)
            while self._file.tell() < end:
                yield from marshal.load(self._file)  # noqa: S302 (our own unnamed file)
        yield from self._entries

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
