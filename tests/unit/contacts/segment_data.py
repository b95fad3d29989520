"""Random segments and contacts, made so that they meet: few names, few values, and the awkward ones among them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
NAMES = ("city", "age", "vip", "имя")
TEXTS = (
    "",
    "Bonn",
    "bonn",
    "Bo",
    "Köln",
    "ko",
    "42",
    "4",
    "0",
    "true",
    "%",
    "_",
    "\\",
    "'",
    '"',
    "😀",
    "a ",
    "null",
    "é",
    "e",
)
NUMBERS = (0, 1, -1, 42, 42.0, 4.2, 0.1, 1e-7, 2**53, -(2**53))
texts = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
numbers = st.sampled_from(NUMBERS) | st.integers(-(2**53), 2**53) | st.floats(-(2.0**53), 2.0**53)
scalars = texts | numbers | st.booleans()
words = st.sampled_from(("de", "en", "en-us", "pt-br", "d", "é"))
zones = st.sampled_from(("Europe/Berlin", "europe/berlin", "UTC", "Asia"))
statuses = st.sampled_from(("active", "gone", "unsubscribed"))
moments = st.builds(
    lambda days, microseconds: NOW - timedelta(days=days, microseconds=microseconds),
    st.sampled_from((-1, 0, 1, 7, 30)),
    st.sampled_from((0, 1, 1_000_000, 3_600_000_000)),
)
days = st.sampled_from((1, 7, 0.5, 30))


def contacts() -> st.SearchStrategy[dict[str, Any]]:
    """The fields of a contact."""
    values = scalars | st.just(1.5e300) | st.none() | st.just([1, "Bonn"]) | st.just({"city": "Bonn"})
    return st.fixed_dictionaries(
        {
            "status": statuses,
            "language": words | st.just(""),
            "timezone": zones | st.just(""),
            "attributes": st.dictionaries(st.sampled_from(NAMES), values, max_size=4),
            "first_seen": moments,
            "last_seen": moments,
        }
    )


def segments() -> st.SearchStrategy[dict[str, Any]]:
    """A segment as JSON."""
    return st.recursive(
        conditions(),
        lambda inner: (
            st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=3))
            | st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3))
            | st.builds(lambda part: {"not": part}, inner)
        ),
        max_leaves=5,
    )


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    """A single condition as JSON."""
    attribute = st.sampled_from(NAMES).map("attributes.{}".format)
    iso = moments.map(datetime.isoformat)
    some_text = texts.filter(bool)
    return st.one_of(
        _built(st.just("status"), ("is", "is_not"), statuses),
        _built(st.just("status"), ("in", "not_in"), st.lists(statuses, min_size=1)),
        _built(st.just("language"), ("is", "is_not", "contains", "starts_with"), words),
        _built(st.just("timezone"), ("is", "is_not", "contains", "starts_with"), zones),
        _built(st.just("language"), ("in", "not_in"), st.lists(words, min_size=1)),
        _built(st.sampled_from(("language", "timezone")) | attribute, ("exists",), st.booleans()),
        _built(st.sampled_from(("first_seen", "last_seen")), ("greater", "at_least", "less", "at_most"), iso),
        _built(st.sampled_from(("first_seen", "last_seen")), ("within_days", "not_within_days"), days),
        _built(attribute, ("is", "is_not"), scalars),
        _built(attribute, ("in", "not_in"), st.lists(scalars, min_size=1, max_size=4)),
        _built(attribute, ("contains", "starts_with"), some_text),
        _built(attribute, ("greater", "at_least", "less", "at_most"), texts | numbers),
    )


def _built(
    fields: st.SearchStrategy[str], operators: tuple[str, ...], given: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda field, operator, value: {"field": field, operator: value},
        fields,
        st.sampled_from(operators),
        given,
    )
