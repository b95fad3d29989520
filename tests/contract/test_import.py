"""Importing contacts: every row accounted for, repeatable, and nothing a file can hold stops it."""

import csv
import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longwave.contacts import importing, lists, status
from longwave.contacts.importing import ImportReport, import_csv
from longwave.contacts.models import Contact, Membership
from longwave.contacts.spool import Spool
from longwave.core.errors import InvalidInput

SHARED_DATABASE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def bring(
    data: str | bytes, *, list_name: str | None = "vip", channel: str = "telegram", **options: Any
) -> ImportReport:
    raw = data.encode() if isinstance(data, str) else data
    contact_list = lists.get_or_create(list_name, channel) if list_name else None
    return import_csv(io.BytesIO(raw), channel=channel, contact_list=contact_list, **options)


def attributes(address: str) -> dict[str, Any]:
    found: dict[str, Any] = Contact.objects.get(address=address).attributes
    return found


def everything() -> list[Any]:
    fields = ("id", "address", "status", "language", "timezone", "attributes", "first_seen", "last_seen")
    return [*Contact.objects.order_by("id").values(*fields), *Membership.objects.order_by("id").values()]


TABLE = """Chat ID,language,timezone,First Name,age,город
1,pt_BR,Europe/Berlin,Ann,42,Бонн
-100123,,,Bob,,
3,de,UTC,,007,
"""


def test_columns_become_fields_and_attributes(database: str) -> None:
    report = bring(TABLE)
    assert (report.rows, report.added, report.joined, report.rejected) == (3, 3, 3, 0)
    ann = Contact.objects.get(address="1")
    assert (ann.channel, ann.language, ann.timezone, ann.status) == (
        "telegram",
        "pt-br",
        "Europe/Berlin",
        "active",
    )
    assert ann.attributes == {"first_name": "Ann", "age": 42, "город": "Бонн"}
    assert attributes("-100123") == {"first_name": "Bob"}
    assert attributes("3") == {"age": "007"}
    assert ann.first_seen is not None


def test_importing_twice_changes_nothing(database: str) -> None:
    text = TABLE + "1,de,UTC,Anna,43,\n"
    bring(text)
    before = everything()
    report = bring(text)
    assert everything() == before
    assert (report.added, report.changed, report.unchanged, report.joined) == (0, 0, 3, 0)
    assert (report.already_on_list, report.duplicates) == (3, 1)


def test_a_later_import_overwrites_what_it_says_and_keeps_the_rest(database: str) -> None:
    bring("chat_id,language,city,age\n1,de,Bonn,5\n2,de,Ulm,6\n")
    report = bring("chat_id,language,age,vip\n1,,5.5,yes\n2,,6,\n", list_name=None)
    assert (report.changed, report.unchanged) == (1, 1)
    ann = Contact.objects.get(address="1")
    assert ann.language == "de"
    assert ann.attributes == {"city": "Bonn", "age": 5.5, "vip": "yes"}


def test_a_number_that_becomes_another_kind_of_number_is_a_change(database: str) -> None:
    bring("chat_id,age\n1,1\n")
    assert bring("chat_id,age\n1,1.0\n").changed == 1
    assert bring("chat_id,age\n1,1.0\n").changed == 0


def test_whoever_is_gone_or_unsubscribed_stays_so_and_is_counted(database: str) -> None:
    bring("chat_id\n1\n2\n3\n")
    ids = dict(Contact.objects.values_list("address", "id"))
    status.mark_gone([ids["1"]], "blocked")
    status.unsubscribe([ids["2"]], "asked")
    report = bring("chat_id,age\n1,1\n2,2\n3,3\n")
    assert (report.gone, report.unsubscribed, report.changed) == (1, 1, 3)
    assert dict(Contact.objects.values_list("address", "status")) == {
        "1": "gone",
        "2": "unsubscribed",
        "3": "active",
    }


def test_the_last_of_several_rows_with_one_address_counts(database: str) -> None:
    report = bring("chat_id,age,city\n1,1,Bonn\n2,5,\n01,2,\n1,3,\n")
    assert (report.rows, report.added, report.duplicates) == (4, 2, 2)
    assert attributes("1") == {"age": 3}


def test_a_broken_row_does_not_overrule_a_good_one(sqlite: str) -> None:
    report = bring("chat_id,age\n1,1\n1,2,3\n")
    assert (report.added, report.duplicates, report.rejected) == (1, 0, 1)
    assert attributes("1") == {"age": 1}


def test_addresses_that_only_look_alike_are_different_contacts(database: str) -> None:
    report = bring("address\nann\nAnn\nánn\n", channel="memory")
    assert report.added == report.joined == Contact.objects.count() == 3


def test_the_column_of_the_address_is_found_by_name(sqlite: str) -> None:
    bring("name,ID,Telegram Id\nAnn,7,42\n")
    assert Contact.objects.get().address == "42"
    bring("user_id;name\n43;Bob\n")
    bring("name|UserID\nCem|44\n")
    assert set(Contact.objects.values_list("address", flat=True)) == {"42", "43", "44"}
    assert attributes("44") == {"name": "Cem"}


def test_heavy_rows_are_imported(database: str) -> None:
    heavy = "é" * 60_000
    report = bring("chat_id,text\n" + "".join(f"{number},{heavy}\n" for number in range(1, 101)))
    assert report.added == 100
    assert attributes("7") == {"text": heavy}


def test_email_addresses_are_checked_and_lowered(sqlite: str) -> None:
    report = bring("E-Mail\nAnn@Example.org\nann@example.org\nnobody\n", channel="email")
    assert (report.added, report.duplicates, report.rejected) == (1, 1, 1)
    assert Contact.objects.get().address == "ann@example.org"


def test_an_address_that_lower_case_makes_too_long_is_rejected_by_itself(database: str) -> None:
    long = f"{'İ' * 64}@{'a' * 115}.example"  # two letters each, in lower case
    report = bring(f"email\n{long}\nann@example.org\n", channel="email")
    assert (report.added, report.rejected) == (1, 1)
    assert "190 is the longest" in report.examples[0].reason


HOSTILE = (
    b"chat_id,name\n"  # 1
    b"1,ok\n"
    b"2,too,many\n"
    b"3\n"
    b"x,bad id\n"  # 5
    b"0,nobody\n"
    b"9999999999999999,too large\n"
    b"8,\xff\xfe\n"
    b"9,nul\0here\n"
    b'10,"open\n'  # 10
    b"11,ok\n"
    b'12,"shut"badly\n'
    b'13,"two\nlines"\n'  # 13, 14
    b"\n"
    b"   \n"
    b",no id\n"  # 17
    b"18," + b"x" * 70_000 + b"\n"
    b"19,ok"
)


def test_bad_rows_are_named_and_never_stop_the_line(sqlite: str, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    report = bring(HOSTILE, rejects=rejects)
    assert sorted(Contact.objects.values_list("address", flat=True)) == ["1", "11", "13", "19"]
    assert attributes("13") == {"name": "two\nlines"}
    with rejects.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    reasons = {int(row["line"]): row["reason"] for row in rows}
    assert sorted(reasons) == [3, 4, 5, 6, 7, 8, 9, 10, 12, 17, 18]
    assert report.rejected == len(rows) == 11
    for line, words in {
        3: "3 cells; the header has 2", 4: "1 cell", 5: "not a whole number", 6: "nobody", 7: "52 bits",
        8: "not UTF-8", 9: "NUL", 10: "never closed", 12: "quotes are broken", 17: "no address", 18: "longer than",
    }.items():  # fmt: skip
        assert words in reasons[line]
    assert [reject.line for reject in report.examples] == sorted(reasons)[: importing.EXAMPLES]


def test_a_reject_file_without_rejects_has_its_header_only(sqlite: str, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    rejects.write_text("of an earlier import")
    bring("chat_id\n1\n", rejects=rejects)
    assert rejects.read_text(encoding="utf-8").split() == ["line,reason,row"]


def test_columns_that_templates_cannot_use_are_left_out_and_named(sqlite: str) -> None:
    report = bring("chat_id,1st,not,status,a,A,\n1,x,x,gone,first,second,x\n")
    assert attributes("1") == {"a": "first"}
    assert Contact.objects.get().status == "active"
    assert [reason.split()[1] for reason in report.left_out] == ["2", "3", "4", "6", "7"]
    assert report.rejected == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_common_kind_of_csv_is_read(sqlite: str, encoding: str, delimiter: str, newline: str) -> None:
    rows = [["id", "name"], ["5", "a, b; c\t|"], ["6", "Zoë"]]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator=newline).writerows(rows)
    assert bring(buffer.getvalue().encode(encoding)).added == 2
    assert (attributes("5"), attributes("6")) == ({"name": "a, b; c\t|"}, {"name": "Zoë"})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"name,age\nx,1\n", "chat_id"),
        (b"PK\x03\x04\0\0", "spreadsheet"),
        (b"\0\0\0\0", "NUL"),
        (b'"chat_id\n1\n', "quotes"),
    ],
)
def test_a_file_without_a_usable_header_is_refused(sqlite: str, data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        bring(data)
    assert not Contact.objects.exists()


def test_a_list_of_another_channel_is_refused(sqlite: str) -> None:
    with pytest.raises(InvalidInput, match="holds email contacts"):
        import_csv(
            io.BytesIO(b"id\n1\n"), channel="telegram", contact_list=lists.get_or_create("mail", "email")
        )


def test_chunks_and_runs_of_any_size_give_the_same_result(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 7)
    monkeypatch.setattr(importing, "Spool", partial(Spool, run=10, block=3))
    rows = [(number * 7919 % 60 + 1, number) for number in range(100)]
    report = bring("chat_id,n\n" + "".join(f"{chat},{number}\n" for chat, number in rows))
    assert (report.added, report.duplicates, report.joined) == (60, 40, 60)
    assert {int(row.address): row.attributes["n"] for row in Contact.objects.all()} == dict(rows)


def test_progress_is_told_in_bytes_and_ends_at_the_end(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 10)
    told: list[tuple[int, int]] = []
    text = "chat_id\n" + "".join(f"{number}\n" for number in range(1, 100))
    bring(text, on_progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (len(text), len(text))
    assert len(told) > 10


def test_progress_of_a_pipe_has_no_total_until_it_was_read(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 10)
    told: list[tuple[int, int]] = []
    text = "chat_id\n" + "".join(f"{number}\n" for number in range(1, 100))
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    with open(read, "rb") as pipe:  # noqa: PTH123 - a descriptor
        import_csv(pipe, channel="telegram", contact_list=None, on_progress=lambda *at: told.append(at))
    assert told == sorted(told)
    assert [total for _, total in told[:9]] == [0] * 9
    assert told[-1] == (len(text), len(text))


cells = st.one_of(
    st.integers(-5, 60).map(str),
    st.sampled_from(
        ["", " ", '"', '""', 'a"b', '"x', "é", "\0", "1.0", "2,3", "\n", "=1+1", "99999999999999999"]
    ),
    st.text(max_size=4),
)
hostile_files = st.lists(st.lists(cells, max_size=4).map(",".join), max_size=15).map("\n".join)


@given(text=hostile_files, noise=st.binary(max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=SHARED_DATABASE)
def test_every_row_of_a_hostile_file_is_accounted_for(sqlite: str, text: str, noise: bytes) -> None:
    data = b"chat_id,name\n" + text.encode() + noise
    report = bring(data)
    assert (
        report.rows == report.added + report.changed + report.unchanged + report.duplicates + report.rejected
    )
    assert report.added + report.changed + report.unchanged == report.joined + report.already_on_list
    again = bring(data)
    assert (again.added, again.changed, again.joined) == (0, 0, 0)
    assert again.rejected == report.rejected


KILLED = """
import sys, longwave
longwave.setup()
from longwave.contacts import importing, lists
importing.CHUNK = 20
def tell(done, total):
    print(done, flush=True)
    if done > total // 2:
        sys.stdin.read()
with open(sys.argv[1], "rb") as file:
    vip = lists.get_or_create("vip", "telegram")
    importing.import_csv(file, channel="telegram", contact_list=vip, on_progress=tell)
"""


def test_an_import_killed_halfway_is_simply_run_again(sqlite: str, tmp_path: Path) -> None:
    text = "chat_id,n\n" + "".join(f"{number},{number}\n" for number in range(1, 401))
    file = tmp_path / "people.csv"
    file.write_text(text)
    environment = os.environ | {"LONGWAVE_DATABASE_URL": sqlite, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(file)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) > len(text) // 2:
                break
        process.send_signal(signal.SIGKILL)
    half = Contact.objects.count()
    assert 0 < half < 400
    report = bring(text)
    assert (report.added, report.unchanged, report.changed) == (400 - half, half, 0)
    assert Membership.objects.count() == 400


def test_two_imports_of_the_same_people_at_once_lose_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 50)
    contact_list = lists.get_or_create("vip", "telegram")

    def run(name: str) -> ImportReport:
        text = f"chat_id,{name}\n" + "".join(f"{number},x\n" for number in range(1, 301))
        try:
            return import_csv(io.BytesIO(text.encode()), channel="telegram", contact_list=contact_list)
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(run, ["a", "b", "c"]))
    assert [report.rejected for report in reports] == [0, 0, 0]
    assert Membership.objects.count() == 300
    expected = {"a": "x", "b": "x", "c": "x"}
    assert all(row.attributes == expected for row in Contact.objects.all())
    assert Contact.objects.count() == 300
