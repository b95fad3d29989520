"""Addresses, attribute names, and the text of cells."""

import minijinja
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.contacts import values


@pytest.mark.parametrize(
    ("channel", "text", "address"),
    [
        ("telegram", " 42 ", "42"),
        ("telegram", "0042", "42"),
        ("telegram", "-1001234567890", "-1001234567890"),
        ("telegram", "123456789.0", "123456789"),
        ("telegram", str(2**52 - 1), str(2**52 - 1)),
        ("email", "Ann@Example.ORG", "ann@example.org"),
        ("memory", " Ann ", "Ann"),
    ],
)
def test_an_address_has_one_spelling(channel: str, text: str, address: str) -> None:
    assert values.address(channel, text) == address


@pytest.mark.parametrize(
    ("channel", "text"),
    [
        *(
            ("telegram", text)
            for text in ("", "0", "-0", "1.5", "1e9", "１２", "--1", "+1", "1_000", "@ann", str(2**52))
        ),
        *(
            ("email", text)
            for text in ("", "ann", "ann@", "@b.de", "a b@c.de", "a@b", "a@b.de,c@d.de", "a@b\n.de")
        ),
        ("email", "a" * 65 + "@example.org"),
        ("memory", "x" * 191),
    ],
)
def test_what_is_no_address_is_refused(channel: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"address|chat id|e-mail"):
        values.address(channel, text)


@given(st.integers(-(2**52) + 1, 2**52 - 1).filter(bool))
def test_every_chat_id_is_kept_exactly(number: int) -> None:
    assert values.address("telegram", str(number)) == str(number)


@pytest.mark.parametrize("text", ["0", "42", "-7", "1.5", "-0.25", "9007199254740992"])
def test_a_cell_that_spells_a_number_becomes_one(text: str) -> None:
    assert not isinstance(values.cell(text), str)
    assert repr(values.cell(text)) == text


@pytest.mark.parametrize(
    "text", ["", "007", "-0", "1.50", "1e5", "+1", "1.", ".5", "٣", "9007199254740993", "nan", "inf", "true"]
)
def test_any_other_cell_stays_text(text: str) -> None:
    assert values.cell(text) == text


@given(st.text(max_size=20) | st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", fullmatch=True))
def test_no_cell_loses_a_character(text: str) -> None:
    assert str(values.cell(text)) == text


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
    | st.sampled_from(["not", "loop", "vip", "имя", "a_1"])
)
def test_a_name_without_a_problem_works_in_a_template(name: str) -> None:
    if values.attribute_name_problem(name) is None:
        assert minijinja.Environment().render_str("{{ " + name + " }}", **{name: "hello"}) == "hello"


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "a-b", "not", "true", "self", "status", "address", "x" * 65]
)
def test_a_name_that_templates_cannot_use_has_a_problem(name: str) -> None:
    assert values.attribute_name_problem(name)
