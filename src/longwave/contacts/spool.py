"""Rows on their way from a file to the database: kept on disk, and sorted by address there."""

import heapq
import marshal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from longwave.contacts.ledger import Row

RUN, RUN_WEIGHT = 40_000, 8_000_000
"""Rows sorted in memory at a time, and characters of attributes in them: a row may have 65,000."""

BLOCK, BLOCK_WEIGHT = 250, 50_000
"""The same of each run while runs are merged."""

CHUNK_WEIGHT = 1_000_000
"""Characters of attributes in a chunk: MariaDB refuses a statement over 16 MB unless told otherwise."""

_Entry = tuple[str, int, str, str, str]  # address, position in the file, language, time zone, attributes
T = TypeVar("T", Row, _Entry)


class Spool:
    """An unnamed temporary file of rows. In memory: one run of them, and a block of each run while they come out.

    They come out by address because a database's index then grows at its end: inserting a million rows in the
    order of a file writes each page of the index hundreds of times. And rows with the same address come side by
    side; the last one of the file counts, wherever it stood: only so does importing a file twice change nothing.
    """

    def __init__(self, folder: Path | None, *, run: int = RUN, block: int = BLOCK) -> None:
        self._run, self._block = run, block
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by close)
        self._entries: list[_Entry] = []
        self._weight = 0
        self._runs: list[tuple[int, int]] = []
        self.count = 0

    def add(self, row: Row) -> None:
        """Append a row."""
        address, language, timezone, attributes = row
        self._entries.append((address, self.count, language, timezone, attributes))
        self.count += 1
        self._weight += len(attributes)
        if len(self._entries) == self._run or self._weight >= RUN_WEIGHT:
            self._write_run()

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """The rows that count, by address, `size` at a time; fewer when they are heavy."""
        return _parcels(self._rows(), size, CHUNK_WEIGHT)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def _rows(self) -> Iterator[Row]:
        self._entries.sort()
        runs = [self._read_run(*run) for run in self._runs]
        last: _Entry | None = None
        for entry in heapq.merge(*runs, self._entries):
            if last is not None and last[0] != entry[0]:
                yield (last[0], *last[2:])
            last = entry
        if last is not None:
            yield (last[0], *last[2:])

    def _write_run(self) -> None:
        self._entries.sort()
        start = self._file.tell()
        for block in _parcels(self._entries, self._block, BLOCK_WEIGHT):
            marshal.dump(block, self._file)
        self._runs.append((start, self._file.tell()))
        self._entries, self._weight = [], 0

    def _read_run(self, start: int, end: int) -> Iterator[_Entry]:
        while start < end:
            self._file.seek(start)
            block = marshal.load(self._file)  # noqa: S302 (our own unnamed file)
            start = self._file.tell()
            yield from block


def _parcels(rows: Iterable[T], count: int, weight: int) -> Iterator[list[T]]:
    """Lists of at most `count` rows, closed early by the row that brings their attributes to `weight` characters."""
    parcel: list[T] = []
    carried = 0
    for row in rows:
        parcel.append(row)
        carried += len(row[-1])
        if len(parcel) == count or carried >= weight:
            yield parcel
            parcel, carried = [], 0
    if parcel:
        yield parcel
