"""The language of segments: what is read, and how each fault is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.contacts import segments
from longwave.contacts.matching import matches
from longwave.contacts.segments import All, Condition, Not
from longwave.core.errors import InvalidInput
from tests.unit.contacts import segment_data as data


@given(data.segments())
def test_what_is_written_reads_back_equal(asked: dict[str, Any]) -> None:
    segment = segments.parse(asked)
    assert segments.parse(segments.to_json(segment)) == segment


@given(data.segments(), data.contacts())
def test_not_is_the_exact_opposite(asked: dict[str, Any], person: dict[str, Any]) -> None:
    segment = segments.parse(asked)
    assert matches(Not(segment), person, now=data.NOW) is not matches(segment, person, now=data.NOW)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["status", "is"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["all", "any", "not", "field", "is", "in", "exists", "within_days", "contains", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_anything_is_read_or_refused(value: object) -> None:
    try:
        segment = segments.parse(value)
    except InvalidInput:
        return
    assert segments.parse(segments.to_json(segment)) == segment


def test_values_are_kept_in_one_spelling() -> None:
    assert segments.parse({"field": "language", "is": " pt_BR"}) == Condition("language", "is", "pt-br")
    assert segments.parse({"all": [{"field": "attributes.a", "in": [1]}]}) == All(
        (Condition("attributes.a", "in", (1,)),)
    )


@pytest.mark.parametrize(
    ("asked", "path", "words"),
    [
        ([], "segment", "must be an object"),
        ({}, "segment", "exactly one of"),
        ({"all": []}, "all", "at least one"),
        ({"field": "attributes.age", "greater": 10**400}, "greater", "must be a number from"),
        ({"field": "attributes.age", "is": float("nan")}, "is", "must be a number from"),
        ({"field": "attributes.age", "in": [float("-inf")]}, "in", "must be a number from"),
        ({"all": {}}, "all", "must be a list"),
        ({"all": [{"field": "status", "is": "gone"}], "any": []}, "segment", "exactly one of"),
        ({"all": [{"not": {"any": [1]}}]}, "all[0].not.any[0]", "must be an object"),
        ({"any": [{"field": "status", "is": "gone"}, {"field": "name", "is": 1}]}, "any[1].field", "attributes.NAME"),
        ({"field": "attributes.a b", "is": 1}, "field", "letters, digits and _"),
        ({"field": "attributes.", "is": 1}, "field", "is empty"),
        ({"field": 5, "is": 1}, "field", "must be one of"),
        ({"field": "status"}, "segment", "exactly one of is"),
        ({"field": "status", "is": "gone", "in": []}, "segment", "exactly one of is"),
        ({"field": "status", "contains": "g"}, "segment", "exactly one of is"),
        ({"field": "status", "is": "dead"}, "is", "active, gone, unsubscribed"),
        ({"field": "status", "is": 1}, "is", "must be text"),
        ({"field": "language", "is": " "}, "is", "exists"),
        ({"field": "last_seen", "greater": "yesterday"}, "greater", "2026-01-31"),
        ({"field": "last_seen", "greater": "0001-01-01T00:00:00+14:00"}, "greater", "2026-01-31"),
        ({"field": "last_seen", "is": "2026-01-31"}, "segment", "within_days"),
        ({"field": "last_seen", "within_days": 0}, "within_days", "more than 0"),
        ({"field": "last_seen", "within_days": True}, "within_days", "number of days"),
        ({"field": "attributes.a", "in": "abc"}, "in", "must be a list"),
        ({"field": "attributes.a", "in": []}, "in", "1 to 1000"),
        ({"field": "attributes.a", "in": [None]}, "in", "text, a number"),
        ({"field": "attributes.a", "is": {}}, "is", "text, a number"),
        ({"field": "attributes.a", "is": 2**60}, "is", "must be a number from"),
        ({"field": "attributes.a", "is": float("nan")}, "is", "must be a number from"),
        ({"field": "attributes.a", "is": "a\0"}, "is", "no database stores"),
        ({"field": "attributes.a", "is": "\ud800"}, "is", "no database stores"),
        ({"field": "attributes.a", "is": "x" * 256}, "is", "256 characters"),
        ({"field": "attributes.a", "contains": ""}, "contains", "at least one character"),
        ({"field": "attributes.a", "contains": 5}, "contains", "must be text"),
        ({"field": "attributes.a", "greater": True}, "greater", "no order"),
        ({"field": "attributes.a", "exists": "yes"}, "exists", "true or false"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_path_and_remedy(asked: object, path: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        segments.parse(asked)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].field == path
    assert words in str(caught.value)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        segments.parse({"any": [{"field": "x", "is": 1}, {"field": "status", "is": "y"}, 5]})
    assert [problem.field for problem in caught.value.problems] == ["any[0].field", "any[1].is", "any[2]"]


def test_depth_and_size_are_bounded() -> None:
    leaf = {"field": "status", "is": "gone"}
    deep: dict[str, Any] = leaf
    for _ in range(segments.MAX_DEPTH - 1):
        deep = {"not": deep}
    segments.parse(deep)
    with pytest.raises(InvalidInput, match="too deep"):
        segments.parse({"not": deep})
    half = {"any": [leaf] * 50}
    segments.parse({"all": [half, half]})
    with pytest.raises(InvalidInput, match="one condition too many"):
        segments.parse({"all": [half, half, leaf]})
    with pytest.raises(InvalidInput, match="at most 100"):
        segments.parse({"all": [leaf] * 101})


def test_a_bottomless_segment_is_refused_without_falling() -> None:
    bottomless: dict[str, Any] = {}
    bottomless["not"] = bottomless
    with pytest.raises(InvalidInput, match="too deep"):
        segments.parse(bottomless)
