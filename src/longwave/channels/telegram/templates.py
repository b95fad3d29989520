"""Which fields of a content may hold minijinja templates, and putting rendered text in their place."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

_SYNTAX = re.compile(r"\{[{%#]")
_STEP = re.compile(r"([a-z_]+)|\[([0-9]+)\]")
_NESTED = ("web_app.url", "login_url.url", "copy_text.text")


def has_template(value: object) -> bool:
    """Whether it is a text with template syntax in it."""
    return isinstance(value, str) and "{" in value and _SYNTAX.search(value) is not None


def templates(content: Struct) -> dict[str, str]:
    """Dotted field → template source, for every field that holds one. Empty: it is the same for everybody."""
    return {field: text for field, text in fillable(content) if has_template(text)}


def fillable(content: Struct) -> Iterator[tuple[str, str]]:
    """Every field that may hold a template, with its text."""
    yield from _texts(content, "", ("text", "caption"))
    for i, item in enumerate(getattr(content, "items", ())):
        yield from _texts(item, f"items[{i}].", ("caption",))
    for i, row in enumerate(getattr(content, "keyboard", ())):
        for j, button in enumerate(row):
            prefix = f"keyboard[{i}][{j}]."
            yield from _texts(button, prefix, ("text", "url", "callback_data", *_NESTED))


def _texts(owner: Struct, prefix: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        value: Any = owner
        for step in name.split("."):
            value = getattr(value, step, None)
        if isinstance(value, str):
            yield prefix + name, value


def with_values(content: Any, values: Mapping[str, object]) -> Any:
    """`content` with the values in the place of those dotted fields."""
    for field, value in values.items():
        steps = [name or int(index) for name, index in _STEP.findall(field)]
        content = _replaced(content, steps, value)
    return content


def _replaced(owner: Any, steps: list[str | int], value: object) -> Any:
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        items = list(owner)
        items[step] = _replaced(items[step], rest, value) if rest else value
        return tuple(items)
    return replace(owner, **{step: _replaced(getattr(owner, step), rest, value) if rest else value})
