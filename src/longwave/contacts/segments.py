"""The language of segments: a small JSON filter over contacts.

    {"all": [{"field": "language", "is": "de"},
             {"not": {"field": "attributes.city", "in": ["Bonn", "Köln"]}},
             {"field": "last_seen", "within_days": 30}]}

Its meaning is the same on every database, and `matching.matches` is that meaning in Python:
- text is compared exactly, letter case included; `greater` and the like order it by code point;
- text is never equal to a number or a boolean, with one exception: a text that spells a number (`"42"`)
  equals that number too, because that is how a table's cell was read;
- a missing attribute, and one that is null, meets no condition. `is_not`, `not_in`, `not_within_days` and
  `"not"` are exact opposites: a missing attribute meets those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import and_, or_
from typing import Any

from django.db.models import F, Q, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import Exact, GreaterThan

from longwave.contacts import values
from longwave.contacts.ledger import AttributeTest
from longwave.contacts.models import ContactStatus
from longwave.contacts.values import Scalar
from longwave.core.errors import InvalidInput, Problem

MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_VALUES = 1000
MAX_TEXT = 255
MAX_DAYS = 36_500

ORDERINGS = ("greater", "at_least", "less", "at_most")
_EQUALITIES = ("is", "is_not", "in", "not_in")
_TEXTUAL = (*_EQUALITIES, "contains", "starts_with", "exists")
_DATED = (*ORDERINGS, "within_days", "not_within_days")
_OPERATORS: dict[str, tuple[str, ...]] = {
    "status": _EQUALITIES,
    "language": _TEXTUAL,
    "timezone": _TEXTUAL,
    "first_seen": _DATED,
    "last_seen": _DATED,
}
_ATTRIBUTE_OPERATORS = (*_TEXTUAL, *ORDERINGS)
_PREFIX = "attributes."
_OPPOSITES = {"is_not": "is", "not_in": "in", "not_within_days": "within_days"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `value`: a scalar, scalars (`in`), a datetime (dates), or days (`within_days`)."""

    field: str
    operator: str
    value: Scalar | datetime | tuple[Scalar, ...]

    @property
    def attribute(self) -> str | None:
        """The attribute's name; None for a field of the contact itself."""
        return self.field.removeprefix(_PREFIX) if self.field.startswith(_PREFIX) else None

    def positive(self) -> tuple["Condition", bool]:
        """The same condition without a `not` in its operator, and whether it is meant the other way round."""
        operator = _OPPOSITES.get(self.operator)
        return (self, False) if operator is None else (Condition(self.field, operator, self.value), True)

    def alternatives(self) -> tuple[Scalar, ...]:
        """The values any of which an `is` or `in` on an attribute is met by."""
        given = self.value if isinstance(self.value, tuple) else (self.value,)
        found: list[Scalar] = []
        for value in given:
            assert not isinstance(value, datetime)
            found.append(value)
            if isinstance(value, str) and (number := values.number(value)) is not None:
                found.append(number)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class All:
    """Every part must hold."""

    parts: tuple["Segment", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part must hold."""

    parts: tuple["Segment", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part must not hold."""

    part: "Segment"


Segment = All | AnyOf | Not | Condition


def parse(data: object) -> Segment:
    """The segment that JSON-like `data` describes. Raises InvalidInput naming every fault by its path."""
    reader = _Reader()
    segment = reader.segment(data, "", 1)
    if reader.problems or segment is None:
        raise InvalidInput(*reader.problems)
    return segment


def to_json(segment: Segment) -> dict[str, Any]:
    """The JSON that `parse` turns into an equal segment."""
    match segment:
        case All(parts):
            return {"all": [to_json(part) for part in parts]}
        case AnyOf(parts):
            return {"any": [to_json(part) for part in parts]}
        case Not(part):
            return {"not": to_json(part)}
        case Condition(field, operator, value):
            return {"field": field, operator: _json_value(value)}


def compile(segment: Segment, *, now: datetime | None = None) -> Q:  # noqa: A001 (the verb is the field's own)
    """The segment as a condition on contacts. `now` is what `within_days` counts back from.

    It is this process' clock, not the database's: beside days, their difference is nothing.
    """
    now = now or datetime.now(UTC)
    match segment:
        case All(parts):
            return reduce(and_, (compile(part, now=now) for part in parts))
        case AnyOf(parts):
            return reduce(or_, (compile(part, now=now) for part in parts))
        case Not(part):
            return ~compile(part, now=now)
        case Condition():
            condition, is_opposite = segment.positive()
            test = _attribute_test(condition) if condition.attribute else _field_test(condition, now)
            return ~test if is_opposite else test


def since(days: Scalar | datetime | tuple[Scalar, ...], now: datetime) -> datetime:
    """Where the last `days` days begin."""
    assert isinstance(days, int | float)
    return now - timedelta(days=days)


def _field_test(condition: Condition, now: datetime) -> Q:
    name, value = condition.field, condition.value
    match condition.operator:
        case "is":
            return Q(**{name: value})
        case "in":
            return Q(**{f"{name}__in": value})
        case "contains":
            return Q(GreaterThan(StrIndex(F(name), Value(value)), 0))
        case "starts_with":
            return Q(Exact(StrIndex(F(name), Value(value)), 1))
        case "exists":
            return ~Q(**{name: ""}) if value else Q(**{name: ""})
        case "within_days":
            return Q(**{f"{name}__gte": since(value, now)})
        case ordering:
            lookup = {"greater": "gt", "at_least": "gte", "less": "lt", "at_most": "lte"}[ordering]
            return Q(**{f"{name}__{lookup}": value})


def _attribute_test(condition: Condition) -> Q:
    key = condition.attribute
    assert key is not None
    match condition.operator:
        case "exists":
            test = Q(AttributeTest(key, "any", "exists", ()))
            return test if condition.value else ~test
        case "is" | "in":
            return _any_of(key, condition.alternatives())
        case operator:
            assert isinstance(condition.value, str | int | float)
            return Q(AttributeTest(key, _kind(condition.value), operator, (condition.value,)))


def _any_of(key: str, alternatives: tuple[Scalar, ...]) -> Q:
    by_kind: dict[str, list[Scalar]] = {}
    for value in alternatives:
        by_kind.setdefault(_kind(value), []).append(value)
    return reduce(or_, (Q(AttributeTest(key, kind, "in", tuple(found))) for kind, found in by_kind.items()))


def _kind(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _json_value(value: Scalar | datetime | tuple[Scalar, ...]) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, datetime) else value


class _Reader:
    """Reads one segment, collecting what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.conditions = 0

    def problem(self, path: str, value: object, remedy: str) -> None:
        self.problems.append(Problem(path or "segment", value, remedy))

    def segment(self, data: object, path: str, depth: int) -> Segment | None:
        if not isinstance(data, Mapping):
            self.problem(
                path, data, 'must be an object: {"all": […]}, {"any": […]}, {"not": …} or {"field": …}'
            )
            return None
        if depth > MAX_DEPTH:
            self.problem(path, data, f"is nested too deep; {MAX_DEPTH} levels are allowed")
            return None
        if "field" in data:
            return self.condition(data, path)
        if len(data) != 1 or next(iter(data)) not in ("all", "any", "not"):
            self.problem(path, dict(data), 'must have exactly one of "all", "any", "not", or a "field"')
            return None
        word, inner = next(iter(data.items()))
        here = f"{path}.{word}" if path else word
        if word == "not":
            part = self.segment(inner, here, depth + 1)
            return None if part is None else Not(part)
        parts = self.parts(inner, here, depth)
        return All(parts) if word == "all" else AnyOf(parts)

    def parts(self, inner: object, path: str, depth: int) -> tuple[Segment, ...]:
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            self.problem(path, inner, "must be a list with at least one condition")
            return ()
        if len(inner) > MAX_CONDITIONS:
            self.problem(path, f"{len(inner)} parts", f"at most {MAX_CONDITIONS} are allowed")
            return ()
        found = (self.segment(part, f"{path}[{index}]", depth + 1) for index, part in enumerate(inner))
        return tuple(part for part in found if part is not None)

    def condition(self, data: Mapping[Any, Any], path: str) -> Condition | None:
        self.conditions += 1
        if self.conditions == MAX_CONDITIONS + 1:
            self.problem(path, dict(data), f"is one condition too many; {MAX_CONDITIONS} are allowed")
            return None
        dot = f"{path}." if path else ""
        field = data["field"]
        operators = self.operators(field, f"{dot}field")
        if operators is None:
            return None
        words = [word for word in data if word != "field"]
        if len(words) != 1 or words[0] not in operators:
            given = ", ".join(map(str, words)) or "no operator"
            self.problem(path, given, f"{field} takes exactly one of {', '.join(operators)}")
            return None
        here = f"{dot}{words[0]}"
        try:
            return Condition(field, words[0], _value(field, words[0], data[words[0]]))
        except ValueError as error:
            self.problem(here, data[words[0]], str(error))
            return None

    def operators(self, field: object, path: str) -> tuple[str, ...] | None:
        if isinstance(field, str) and field in _OPERATORS:
            return _OPERATORS[field]
        if not isinstance(field, str) or not field.startswith(_PREFIX):
            self.problem(path, field, f"must be one of {', '.join(_OPERATORS)}, or attributes.NAME")
            return None
        if reason := values.attribute_name_problem(field.removeprefix(_PREFIX)):
            self.problem(path, field, f"the attribute's name {reason}")
            return None
        return _ATTRIBUTE_OPERATORS


def _value(field: str, operator: str, value: object) -> Scalar | datetime | tuple[Scalar, ...]:
    """The checked value of a condition. Raises ValueError with the remedy."""
    if operator == "exists":
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if operator in ("within_days", "not_within_days"):
        return _days(value)
    if field in ("first_seen", "last_seen"):
        return _moment(value)
    if operator in ("in", "not_in"):
        if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= MAX_VALUES:
            raise ValueError(f"must be a list of 1 to {MAX_VALUES} values")
        return tuple(_scalar(field, operator, item) for item in value)
    return _scalar(field, operator, value)


def _scalar(field: str, operator: str, value: object) -> Scalar:
    if isinstance(value, str):
        return _text(field, operator, value)
    if not field.startswith(_PREFIX) or operator in ("contains", "starts_with"):
        raise ValueError("must be text")
    if isinstance(value, bool):
        if operator in ORDERINGS:
            raise ValueError("true and false have no order; give a number or text")
        return value
    if not isinstance(value, int | float):
        raise ValueError("must be text, a number, true or false")
    if not abs(value) <= values.LARGEST_EXACT:  # nor is NaN
        raise ValueError(f"must be a number from -{values.LARGEST_EXACT} to {values.LARGEST_EXACT}")
    return value


def _text(field: str, operator: str, value: str) -> str:
    if len(value) > MAX_TEXT:
        raise ValueError(f"has {len(value)} characters; {MAX_TEXT} are allowed")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("has characters that no database stores; remove them")
    if field == "status" and value not in ContactStatus.values:
        raise ValueError(f"must be one of {', '.join(ContactStatus.values)}")
    if not field.startswith(_PREFIX):
        value = values.language(value) if field == "language" else value.strip()
        if not value:
            raise ValueError('is empty; ask for a missing value with {"exists": false}')
    if not value and operator in ("contains", "starts_with"):
        raise ValueError("must have at least one character")
    return value


def _days(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_DAYS:
        raise ValueError(f"must be a number of days, more than 0 and at most {MAX_DAYS}")
    return value


def _moment(value: object) -> datetime:
    remedy = (
        'must be a date or time such as "2026-01-31" or "2026-01-31T18:00:00+02:00" (without a zone: UTC)'
    )
    if not isinstance(value, str):
        raise ValueError(remedy)
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(remedy) from None
