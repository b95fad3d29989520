"""What a segment means, in Python, for one contact at hand. The databases must agree; a test sees to that."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from longwave.contacts.segments import All, AnyOf, Condition, Not, Segment, since


def matches(segment: Segment, contact_fields: Mapping[str, Any], *, now: datetime | None = None) -> bool:
    """Whether the contact with these fields (status, language, …, attributes) belongs to the segment."""
    now = now or datetime.now(UTC)
    match segment:
        case All(parts):
            return all(matches(part, contact_fields, now=now) for part in parts)
        case AnyOf(parts):
            return any(matches(part, contact_fields, now=now) for part in parts)
        case Not(part):
            return not matches(part, contact_fields, now=now)
        case Condition():
            condition, is_opposite = segment.positive()
            return _holds(condition, contact_fields, now) != is_opposite


def _holds(condition: Condition, contact_fields: Mapping[str, Any], now: datetime) -> bool:
    attribute = condition.attribute
    if attribute is not None:
        found = contact_fields["attributes"].get(attribute)
        if condition.operator == "exists":
            return (found is not None) is condition.value
        return found is not None and _compare(found, condition, now)
    found = contact_fields[condition.field]
    if condition.operator == "exists":
        return (found != "") is condition.value
    return _compare(found, condition, now)


def _compare(found: Any, condition: Condition, now: datetime) -> bool:
    value: Any = condition.value
    match condition.operator:
        case "is" | "in":
            return any(_is_same_kind(found, given) and found == given for given in condition.alternatives())
        case "within_days":
            return bool(found >= since(value, now))
        case "contains":
            return isinstance(found, str) and value in found
        case "starts_with":
            return isinstance(found, str) and found.startswith(value)
    return (
        _is_same_kind(found, value)
        and {
            "greater": lambda: found > value,
            "at_least": lambda: found >= value,
            "less": lambda: found < value,
            "at_most": lambda: found <= value,
        }[condition.operator]()
    )


def _is_same_kind(found: Any, value: Any) -> bool:
    """Text with text, numbers with numbers, booleans with booleans. Python would let True equal 1."""
    for kind in (bool, str, int | float, datetime):
        if isinstance(value, kind):
            return isinstance(found, kind) and (kind is bool or not isinstance(found, bool))
    return False
