"""Plain data to typed structs, with every problem found instead of the first one only."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec.inspect as shapes
from msgspec import Struct

from longwave.core.errors import Problem

S = TypeVar("S", bound=Struct)
Coerce = Mapping[Any, Callable[[str], Mapping[str, object]]]
Rules = Mapping[Any, Callable[[Any], tuple[str, object, str] | None]]

_WORDS = {
    shapes.StrType: "a string",
    shapes.IntType: "a whole number",
    shapes.FloatType: "a number",
    shapes.BoolType: "true or false",
    shapes.NoneType: "null",
    shapes.StructType: "an object",
    shapes.VarTupleType: "a list",
}
_INT_LIMIT = 1 << 63


class Builder:
    """Builds structs out of what `json.loads` returns, and collects what is wrong in `problems`.

    coerce: structs that may also be written as a string, and the fields that the string stands for.
    rules: what a struct must satisfy as a whole; a rule returns (field, value, remedy) or None.
    """

    def __init__(self, *, coerce: Coerce, rules: Rules) -> None:
        self.problems: list[Problem] = []
        self._coerce = coerce
        self._rules = rules

    def struct(self, kind: type[S], value: object, path: str = "", *, tag: str | None = None) -> S | None:
        """The `kind` that `value` describes, or None after noting problems. tag: a field already read."""
        coerce = self._coerce.get(kind)
        if coerce and isinstance(value, str):
            value = coerce(value)
        if not isinstance(value, Mapping):
            self._refuse(path or "content", value, "must be an object")
            return None
        before = len(self.problems)
        fields = _fields(kind)
        self._unknown(value, path, [*([tag] if tag else []), *fields])
        built: dict[str, Any] = {}
        for name, field in fields.items():
            if name in value:
                built[name] = self._value(field.type, value[name], _join(path, name))
            elif field.required:
                self._refuse(_join(path, name), None, "is missing")
        if len(self.problems) > before:
            return None
        return self._ruled(kind(**built), path)

    def _ruled(self, built: S, path: str) -> S | None:
        rule = self._rules.get(type(built))
        broken = rule(built) if rule else None
        if broken:
            name, value, remedy = broken
            self._refuse(_join(path, name) if name else path, value, remedy)
            return None
        return built

    def _refuse(self, path: str, value: object, remedy: str) -> None:
        self.problems.append(Problem(path, value, remedy))

    def _unknown(self, value: Mapping[Any, object], path: str, allowed: list[str]) -> None:
        for name in value:
            if name not in allowed:
                where = _join(path, name if isinstance(name, str) else repr(name))
                self._refuse(where, value[name], f"is not a field here; allowed: {', '.join(allowed)}")

    def _value(self, shape: shapes.Type, value: object, path: str) -> Any:
        if isinstance(shape, shapes.UnionType):
            return self._union(shape, value, path)
        if isinstance(shape, shapes.StructType):
            return self.struct(shape.cls, value, path)
        if isinstance(shape, shapes.VarTupleType):
            return self._items(shape, value, path)
        remedy = _leaf_remedy(shape, value)
        if remedy:
            self._refuse(path, value, remedy)
            return None
        return float(value) if isinstance(shape, shapes.FloatType) else value  # type: ignore[arg-type]

    def _union(self, shape: shapes.UnionType, value: object, path: str) -> Any:
        choices = [choice for choice in shape.types if not isinstance(choice, shapes.NoneType)]
        if value is None and len(choices) < len(shape.types):
            return None
        tagged = [choice for choice in choices if isinstance(choice, shapes.StructType) and choice.tag_field]
        if tagged:
            return self.tagged({str(choice.tag): choice.cls for choice in tagged}, value, path)
        fitting = [choice for choice in choices if len(choices) == 1 or _leaf_remedy(choice, value) is None]
        if not fitting:
            words = " or ".join(_WORDS.get(type(choice), "something else") for choice in choices)
            self._refuse(path, value, f"must be {words}")
            return None
        return self._value(fitting[0], value, path)

    def tagged(self, kinds: Mapping[str, type[S]], value: object, path: str = "") -> S | None:
        """The one of `kinds` that the field `kind` of `value` names."""
        if not isinstance(value, Mapping):
            self._refuse(path or "content", value, "must be an object with a field kind")
            return None
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            self._refuse(_join(path, "kind"), kind, f"must be one of {', '.join(kinds)}")
            return None
        return self.struct(kinds[kind], value, path, tag="kind")

    def _items(self, shape: shapes.VarTupleType, value: object, path: str) -> Any:
        if not isinstance(value, list | tuple):
            self._refuse(path, value, "must be a list")
            return None
        return tuple(self._value(shape.item_type, item, f"{path}[{i}]") for i, item in enumerate(value))


@cache
def _fields(kind: type[Struct]) -> dict[str, shapes.Field]:
    info = shapes.type_info(kind)
    assert isinstance(info, shapes.StructType)
    return {field.name: field for field in info.fields}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _leaf_remedy(shape: shapes.Type, value: object) -> str | None:
    """Why `value` is not of that shape, or None when it is."""
    if isinstance(shape, shapes.LiteralType):
        fits = isinstance(value, str) and value in shape.values
        return None if fits else f"must be one of {', '.join(map(str, shape.values))}"
    if isinstance(shape, shapes.StrType) and isinstance(value, str):
        return _text_remedy(value)
    if isinstance(shape, shapes.BoolType) and isinstance(value, bool):
        return None
    if isinstance(shape, shapes.IntType | shapes.FloatType) and _is_number(shape, value):
        return None
    return f"must be {_WORDS.get(type(shape), 'something else')}"


def _is_number(shape: shapes.Type, value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -_INT_LIMIT <= value < _INT_LIMIT
    return isinstance(shape, shapes.FloatType) and isinstance(value, float) and math.isfinite(value)


def _text_remedy(value: str) -> str | None:
    """A NUL cannot be stored in PostgreSQL, and half of a surrogate pair cannot be sent at all."""
    if "\0" in value:
        return "must not contain the NUL character"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "contains half of a surrogate pair; write the whole character"
    return None
