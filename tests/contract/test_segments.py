"""A segment means the same on every database as in Python."""

from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longwave.contacts import segments
from longwave.contacts.matching import matches
from longwave.contacts.models import Contact
from tests.unit.contacts import segment_data as data

ONE_DATABASE_FOR_ALL_EXAMPLES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@transaction.atomic
def _store(people: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    Contact.objects.all().delete()
    stored = {}
    for number, fields in enumerate(people):
        row = Contact.objects.create(channel="memory", address=str(number), **fields)
        stored[row.pk] = fields
    rows = [Contact(pk=pk, **fields) for pk, fields in stored.items()]
    Contact.objects.bulk_update(rows, ["first_seen", "last_seen"])  # create() sets them to now
    return stored


def _selected(segment: segments.Segment) -> set[int]:
    return set(Contact.objects.filter(segments.compile(segment, now=data.NOW)).values_list("pk", flat=True))


@given(
    people=st.lists(data.contacts(), min_size=1, max_size=8),
    asked=st.lists(data.segments(), min_size=1, max_size=6),
)
@settings(max_examples=100, deadline=None, suppress_health_check=ONE_DATABASE_FOR_ALL_EXAMPLES)
def test_the_database_selects_whom_python_says(
    database: str, people: list[dict[str, Any]], asked: list[dict[str, Any]]
) -> None:
    stored = _store(people)
    for segment in map(segments.parse, asked):
        expected = {pk for pk, fields in stored.items() if matches(segment, fields, now=data.NOW)}
        assert _selected(segment) == expected


PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {"language": "de", "attributes": {"city": "Bonn", "age": 42, "vip": True}},
    "bob": {"language": "en", "attributes": {"city": "bonn", "age": "42", "vip": "true"}},
    "cem": {"language": "", "attributes": {"age": 42.5, "city": None, "tags": ["Bonn"]}},
    "dee": {"language": "DE", "attributes": {}},
}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"field": "language", "is": "de"}, "ann"),
        ({"field": "language", "is_not": "de"}, "bob cem dee"),
        ({"field": "language", "exists": False}, "cem"),
        ({"field": "attributes.city", "is": "Bonn"}, "ann"),
        ({"field": "attributes.city", "is_not": "Bonn"}, "bob cem dee"),
        ({"field": "attributes.city", "exists": True}, "ann bob"),
        ({"field": "attributes.city", "contains": "onn"}, "ann bob"),
        ({"field": "attributes.city", "starts_with": "b"}, "bob"),
        ({"field": "attributes.tags", "exists": True}, "cem"),
        ({"field": "attributes.tags", "contains": "Bonn"}, ""),
        ({"field": "attributes.age", "is": 42}, "ann"),
        ({"field": "attributes.age", "is": "42"}, "ann bob"),
        ({"field": "attributes.age", "in": ["42", 42.5]}, "ann bob cem"),
        ({"field": "attributes.age", "greater": 42}, "cem"),
        ({"field": "attributes.age", "at_most": 42.5}, "ann cem"),
        ({"field": "attributes.age", "at_least": "4"}, "bob"),
        ({"field": "attributes.vip", "is": True}, "ann"),
        ({"field": "attributes.vip", "is": 1}, ""),
        ({"not": {"field": "attributes.vip", "is": True}}, "bob cem dee"),
        ({"field": "attributes.city", "is": "' OR 1=1 --"}, ""),
    ],
)
def test_conditions_mean_what_the_language_says(database: str, asked: dict[str, Any], names: str) -> None:
    rows = {
        name: Contact.objects.create(channel="memory", address=name, **fields)
        for name, fields in PEOPLE.items()
    }
    selected = _selected(segments.parse(asked))
    assert sorted(name for name, row in rows.items() if row.pk in selected) == names.split()


def test_the_largest_segment_allowed_runs(database: str) -> None:
    row = Contact.objects.create(channel="memory", address="a", attributes={"n": segments.MAX_VALUES - 1})
    asked: dict[str, Any] = {"field": "attributes.n", "in": [str(n) for n in range(segments.MAX_VALUES)]}
    for _ in range(segments.MAX_DEPTH - 2):
        asked = {"not": asked}
    others = [{"field": f"attributes.a{n}", "exists": True} for n in range(segments.MAX_CONDITIONS - 1)]
    assert _selected(segments.parse({"any": [asked, *others]})) == {row.pk}
