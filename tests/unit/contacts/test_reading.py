"""Reading CSV: a well-formed file as Python's csv module reads it; what is broken costs its own line only."""

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.contacts import reading
from longwave.contacts.reading import Broken, Record, Table
from longwave.contacts.spool import Spool

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6) | st.sampled_from(
    ['"', "a\nb", ",", ""]
)


@given(
    st.lists(st.lists(cells, min_size=2, max_size=2), max_size=8),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_well_formed_file_reads_as_it_was_written(rows: list[list[str]], encoding: str) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *rows])
    found = list(Table(io.BytesIO(buffer.getvalue().encode(encoding))).records())
    assert [record.cells for record in found if isinstance(record, Record)] == rows
    assert len(found) == len(rows)


def good(lines: Iterator[Record | Broken]) -> tuple[list[tuple[int, list[str]]], list[int]]:
    entries = list(lines)
    return (
        [(entry.line, entry.cells) for entry in entries if isinstance(entry, Record)],
        [entry.line for entry in entries if isinstance(entry, Broken)],
    )


def test_a_stray_quote_costs_its_own_line_only() -> None:
    body = "".join(f"{number},x\n" for number in range(300))
    found, broken = good(Table(io.BytesIO(f'a,b\n"1,x\n{body}"2,x\n{body}'.encode())).records())
    assert len(found) == 600
    assert broken == [2, 303]


def test_every_line_with_a_stray_quote_is_named() -> None:
    found, broken = good(Table(io.BytesIO(b"a,b\n" + b'"1,x\n' * 500)).records())
    assert found == []
    assert broken == list(range(2, 502))


def test_line_numbers_count_lines_inside_quotes() -> None:
    found, broken = good(Table(io.BytesIO(b'a,b\r\n1,"x\r\ny\r\nz"\r\n\r\n\xff\n2,c')).records())
    assert found == [(2, ["1", "x\ny\nz"]), (7, ["2", "c"])]
    assert broken == [6]


@pytest.mark.parametrize("length", [reading.LONGEST_LINE + 1, reading.BLOCK * 3 + 5])
def test_a_line_without_end_takes_no_memory_and_costs_itself_only(length: int) -> None:
    found, broken = good(Table(io.BytesIO(b"a,b\n1,x\n" + b"y" * length + b"\n2,x\n")).records())
    assert [line for line, _ in found] == [2, 4]
    assert broken == [3]


def test_a_character_split_between_blocks_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 7)
    text = "a,b\r\n" + "".join(f"{number},Köln😀\r\n" for number in range(50))
    found, broken = good(Table(io.BytesIO(text.encode())).records())
    assert broken == []
    assert [row for _, row in found] == [[str(number), "Köln😀"] for number in range(50)]


def test_excels_own_delimiter_line_is_obeyed() -> None:
    table = Table(io.BytesIO(b"sep=;\nid;a,b,c\n1;x\n"))
    assert table.header == ["id", "a,b,c"]
    assert good(table.records())[0] == [(3, ["1", "x"])]


def test_delimiters_inside_quotes_do_not_count() -> None:
    assert Table(io.BytesIO(b'id;"a,b,c"\n')).delimiter == ";"


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9).map(str)), max_size=60),
    st.integers(1, 9),
)
def test_a_spool_gives_the_last_row_of_each_address_in_order(rows: list[tuple[str, str]], size: int) -> None:
    spool = Spool(None, run=8, block=3)
    for address, value in rows:
        spool.add((address, value, "", "{}"))
    chunks = list(spool.chunks(size))
    spool.close()
    assert [(row[0], row[1]) for chunk in chunks for row in chunk] == sorted(dict(rows).items())
    assert all(len(chunk) == size for chunk in chunks[:-1])


def test_heavy_rows_come_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longwave.contacts.spool.RUN_WEIGHT", 50)
    monkeypatch.setattr("longwave.contacts.spool.BLOCK_WEIGHT", 20)
    monkeypatch.setattr("longwave.contacts.spool.CHUNK_WEIGHT", 30)
    spool = Spool(None)
    for number in range(10):
        spool.add((str(number), "", "", "x" * 15))
    chunks = list(spool.chunks(1000))
    spool.close()
    assert [len(chunk) for chunk in chunks] == [2] * 5
    assert [row[0] for chunk in chunks for row in chunk] == list("0123456789")
