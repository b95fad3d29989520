"""`longwave contacts …`: what scripts read, and what people are told."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from longwave.cli.contacts import app
from longwave.contacts import saved_segments
from longwave.contacts.models import Contact, ContactList
from longwave.core.errors import InvalidInput, LongwaveError, NotFound

pytestmark = pytest.mark.usefixtures("sqlite")
GERMAN = '{"field": "language", "is": "de"}'


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text("chat_id,language,city\n1,de,Bonn\n2,en,[red]Bath\nx,de,Ulm\n", encoding="utf-8")
    return file


def run(*arguments: str | Path, stdin: str | None = None) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None:
        raise result.exception
    return result.output


def run_json(*arguments: str | Path) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_import_reports_as_json_and_writes_the_rejects(people: Path, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    report = run_json("import", people, "--list", "vip", "--rejects", rejects)
    assert (report["rows"], report["added"], report["joined"], report["rejected"]) == (3, 2, 2, 1)
    assert rejects.read_text(encoding="utf-8").splitlines()[1].startswith("4,chat id 'x'")
    assert run_json("lists") == [{"name": "vip", "channel": "telegram", "members": 2}]


def test_import_tells_people_what_happened(people: Path) -> None:
    said = run("import", people, "--list", "vip")
    assert "3 rows: 2 added, 0 changed, 0 unchanged, 0 duplicates, 1 rejected." in said
    assert "Line 4: chat id 'x' is not a whole number." in said


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        run("import", tmp_path / "nothing.csv")


def test_a_refused_file_is_named_and_leaves_no_list_behind(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InvalidInput, match=r"empty\.csv"):
        run("import", tmp_path / "empty.csv", "--list", "new")
    assert not ContactList.objects.exists()


def test_a_refused_file_leaves_a_list_that_was_there(tmp_path: Path) -> None:
    ContactList.objects.create(name="old", channel="telegram")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InvalidInput):
        run("import", tmp_path / "empty.csv", "--list", "old")
    assert ContactList.objects.get().name == "old"


def test_a_file_whose_every_row_is_rejected_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("chat_id\nx\n0\n")
    rejects = tmp_path / "rejects.csv"
    with pytest.raises(InvalidInput) as refused:
        run("import", file, "--list", "new", "--rejects", rejects)
    said = str(refused.value)
    assert "people.csv': not one of its 2 rows could be imported; line 2: chat id 'x' is not" in said
    assert len(rejects.read_text(encoding="utf-8").splitlines()) == 3
    assert not ContactList.objects.exists()


def test_a_file_without_rows_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("chat_id\n")
    assert "0 rows" in run("import", tmp_path / "people.csv")


def test_a_file_in_an_old_encoding_is_told_with_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes("chat_id,name\n1,Ann\n2,Пётр\n".encode("cp1251"))
    said = run("import", file)
    assert "Line 3: it is not UTF-8 text; save the file as CSV UTF-8" in said
    assert "1 added" in said
    file.write_bytes("chat_id,имя\n1,Ann\n".encode("cp1251"))
    with pytest.raises(InvalidInput, match=r"its line 1 cannot be read: it is not UTF-8 text; save the file"):
        run("import", file)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("chat_id,name,Chat ID", r"has 2 columns 'chat_id' \(1 and 3\); leave the one"),
        ("chat_id,name,ChatId", r"has 2 columns 'chat_id' \(1 and 3\); leave the one"),
        ("name,phone", r"has no column 'chat_id' \(telegram_id, user_id, id would do too\)"),
        ("123456789,Ann", r"the first line must name the columns"),
    ],
)
def test_a_header_without_one_clear_address_is_refused(tmp_path: Path, header: str, words: str) -> None:
    (tmp_path / "people.csv").write_text(f"{header}\n1,x,2\n")
    with pytest.raises(InvalidInput, match=words):
        run("import", tmp_path / "people.csv")
    assert not Contact.objects.exists()


def test_standard_input_is_imported_and_named() -> None:
    assert "2 rows: 2 added" in run("import", "-", "--list", "vip", stdin="chat_id\n1\n2\n")
    with pytest.raises(InvalidInput, match="standard input"):
        run("import", "-", stdin="chat_id\nx\n")


def test_the_rejects_must_not_overwrite_the_file(people: Path) -> None:
    before = people.read_bytes()
    with pytest.raises(InvalidInput, match="is the file to import"):
        run("import", people, "--rejects", people)
    assert people.read_bytes() == before


def test_count_is_what_a_campaign_would_reach(people: Path) -> None:
    run("import", people, "--list", "vip")
    run("segment", "save", "german", "-", stdin=GERMAN)
    Contact.objects.filter(address="2").update(status="gone")
    assert run_json("count")["count"] == 1
    assert run_json("count", "--list", "vip") == {
        "list": "vip", "segment": None, "channel": "telegram", "count": 1,
        "on_list": {"active": 1, "gone": 1, "unsubscribed": 0},
    }  # fmt: skip
    assert run_json("count", "--list", "vip", "--segment", "german")["count"] == 1
    assert "1 contact can be written to." in run("count", "--segment", "german")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["count", "--list", "nobody"], NotFound),
        (["count", "--segment", "nobody"], NotFound),
        (["count", "--channel", "fax"], InvalidInput),
        (["count", "--list", "mail", "--channel", "telegram"], InvalidInput),
        (["show", "5"], NotFound),
        (["show", "\udcff"], NotFound),
        (["count", "--list", "\udcff"], NotFound),
        (["segment", "show", "nobody"], NotFound),
        (["segment", "save", "x", "/nonexistent.json"], InvalidInput),
    ],
)
def test_what_does_not_exist_is_told(arguments: list[str], error: type[LongwaveError]) -> None:
    ContactList.objects.create(name="mail", channel="email")
    with pytest.raises(error):
        run(*arguments)


def test_show_tells_everything_of_a_contact_as_it_stands(people: Path) -> None:
    run("import", people, "--list", "vip")
    (document,) = run_json("show", "2")
    assert (document["address"], document["lists"], document["attributes"]) == (
        "2",
        ["vip"],
        {"city": "[red]Bath"},
    )
    assert "[red]Bath" in run("show", "2")


def test_a_group_is_shown_by_its_negative_id() -> None:
    Contact.objects.create(channel="telegram", address="-1005")
    assert "-1005" in run("show", "--", "-1005")


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, '{"field": "city", "is": 1}'])
def test_a_bad_segment_is_refused_and_nothing_saved(text: str) -> None:
    with pytest.raises(InvalidInput):
        run("segment", "save", "x", "-", stdin=text)
    assert saved_segments.names() == []


def test_a_saved_segment_is_shown_as_it_was_given(tmp_path: Path) -> None:
    file = tmp_path / "german.json"
    file.write_text(GERMAN)
    run("segment", "save", "german", file)
    assert run_json("segment", "show", "german") == json.loads(GERMAN)
    assert run_json("segment", "list") == ["german"]
