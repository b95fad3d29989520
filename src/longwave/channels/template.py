"""Templates that people write into messages: the harmless part of Jinja's language, run by MiniJinja.

MiniJinja's fuel bounds how many steps a template takes, not what one step may cost: chains of
`'x'|replace(…)` and `{% set x = x ~ x %}` reach gigabytes in a few steps. So the source is checked first,
and what multiplies text is left out or has a bound of its own. The rest costs at most source times fields:

- tags: if, elif, else, endif, for, endfor. A loop runs over a field (with filters) or a `range`.
- no `*` (write `price|times(3)`), no dictionaries, no functions but `range`, no methods.
- the filters in FILTERS.

Missing fields and attributes are errors unless a default is given: `{{ name|default("friend") }}`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import minijinja

from longwave.channels.base import TemplateError

FUEL = 10_000
"""Steps one rendering may take: about a thousand turns of a short loop."""
MAX_SOURCE = 16_384
"""Characters of a template."""
MAX_TAG = 1_000
"""Characters of one tag: a long expression recurses in the parser, down to the end of the stack."""
MAX_TEXT = 65_536
"""Characters that one rendering, or one value inside it, may have: far above what any chat shows."""
MAX_RANGE = 1_000

_TAGS = ("if", "elif", "else", "endif", "for", "endfor")
_BUILT_IN = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last",
    "length", "lower", "max", "min", "reverse", "round", "sort", "title", "trim", "unique", "upper",
    "urlencode",
)  # fmt: skip

_TAG = re.compile(r"\{\{|\{%|\{#")
_TOKEN = re.compile(
    r"""(?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?P<end>-?\}\}|-?%\}|\+%\}|\+\}\})"""
    r"""|\|\s*(?P<filter>\w+)|(?P<refused>[*{'"])|.""",
    re.DOTALL,
)
_STRING = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_CALL = re.compile(r"(?:(?P<kind>\.|\||\bis\b)\s*)?(?P<name>(?<=is\s)not\s+\w+|\b\w+|[\])'])\s*\(")
_CALLABLE = (
    "range",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "elif",
    "else",
)  # all but the first group: `not (a or b)`
_ARGUMENT = r"""(?:\w+\s*=\s*)?(?:'[^'\\]*'|"[^"\\]*"|\[\s*\]|-?[\w.]+)"""
_LOOP = re.compile(
    r"for\s+\w+(?:\s*,\s*\w+)*\s+in\s+(?:range\s*\([^()\[\]]*\)|\w+(?:\.\w+|\[\d+\])*)"
    rf"(?:\s*\|\s*\w+(?:\s*\(\s*(?:{_ARGUMENT}(?:\s*,\s*{_ARGUMENT})*)?\s*\))?)*(?:\s+if\s.*)?",
    re.DOTALL,
)
_FORMAT = re.compile(r"%(?:%|[-+ 0]{0,2}\d{0,2}(?:\.\d{1,2})?[dfs])")


class Template:
    """One template, compiled once. `escape` is applied to every value it shows, never to its own text.

    Not to be rendered by two threads at once. Raises TemplateError when the source is not a template.
    """

    __slots__ = ("_left", "_names", "_render", "source")

    def __init__(self, source: str, escape: Callable[[str], str] | None = None) -> None:
        _check(source)
        self.source = source
        self._left = MAX_TEXT
        environment = minijinja.Environment(
            fuel=FUEL,
            undefined_behavior="strict",
            auto_escape_callback=lambda name: False,
            keep_trailing_newline=True,
            finalizer=self._finalizer(escape or str),
            filters=_FILTERS,
            pycompat=False,
        )
        for name in environment.globals:
            environment.remove_global(name)
        environment.add_global("range", _range)
        try:
            environment.add_template("message", source)
            names = environment.undeclared_variables_in_template("message")
        except (minijinja.TemplateError, ValueError) as error:  # ValueError: text that is not Unicode
            raise _explained(error) from None
        self._names = tuple(sorted(names - {"range"}))
        self._render = environment.render_template

    def names(self) -> set[str]:
        """The fields it asks for."""
        return set(self._names)

    def render(self, fields: Mapping[str, Any]) -> str:
        """The text for these fields; a field that is None counts as missing. Raises TemplateError."""
        self._left = MAX_TEXT
        used = {name: fields[name] for name in self._names if fields.get(name) is not None}
        try:
            text: str = self._render("message", **used)
        except TemplateError:
            raise
        except Exception as error:  # also what our own filters raise for values they were not made for
            raise _explained(error) from None
        if len(text) > MAX_TEXT:
            raise TemplateError(f"the text has {len(text)} characters; {MAX_TEXT} is the limit")
        return text

    def _finalizer(self, escape: Callable[[str], str]) -> Callable[[Any], str]:
        def shown(value: Any) -> str:
            text = escape(value if type(value) is str else _plain(value))
            self._left -= len(text)
            if self._left < 0:
                raise TemplateError(f"the text has more than {MAX_TEXT} characters")
            return text

        return shown


def _plain(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    if value is None:
        raise TemplateError('a value is empty; give a default, as in {{ name|default("friend", true) }}')
    kind = "list" if isinstance(value, list | tuple) else type(value).__name__
    raise TemplateError(f"a {kind} cannot be shown; name one of its values, or use |join")


def _explained(error: Exception) -> TemplateError:
    """The error in a sentence for the person who wrote the template."""
    if not isinstance(error, minijinja.TemplateError):
        return TemplateError(f"a filter cannot use this value ({type(error).__name__}: {error})")
    where = f" (line {error.line})" if (error.line or 1) > 1 else ""
    detail = str(error.detail or error.message.split(" (in ")[0])
    match error.kind:
        case "UndefinedError":
            return TemplateError(
                f'{detail} for this recipient; give a default, as in {{{{ name|default("friend") }}}}{where}'
            )
        case "OutOfFuel":
            return TemplateError(f"the template takes more than {FUEL} steps; make its loops shorter{where}")
        case "UnknownFunction":
            return TemplateError(f"function {detail}; only range() is there{where}")
        case _:
            return TemplateError(detail + where)


def _check(source: str) -> None:
    """Refuse what could cost more than its length shows. Raises TemplateError with what to write instead."""
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"the template has {len(source)} characters; {MAX_SOURCE} is the limit")
    for opening, body in _tags(source):
        if len(body) > MAX_TAG:
            raise TemplateError(f"a tag has {len(body)} characters; {MAX_TAG} is the limit")
        _check_calls(body)
        if opening == "{%":
            _check_tag(body.lstrip("-+").strip())


def _tags(source: str) -> Iterator[tuple[str, str]]:
    position = 0
    while found := _TAG.search(source, position):
        start = found.end()
        if found[0] == "{#":
            end = source.find("#}", start)
            position = end + 2 if end >= 0 else len(source)
            continue
        closing = "}}" if found[0] == "{{" else "%}"
        end, position = _scan(source, start, closing)
        yield found[0], source[start:end]


def _scan(source: str, start: int, closing: str) -> tuple[int, int]:
    """Where the tag's expression ends and where the text goes on; refuses what may not stand in between."""
    for token in _TOKEN.finditer(source, start):
        match token.lastgroup:
            case "end" if token["end"].endswith(closing):
                return token.start(), token.end()
            case "filter" if token["filter"] not in FILTERS:
                raise TemplateError(
                    f"there is no filter {token['filter']!r}; the filters are {', '.join(FILTERS)}"
                )
            case "refused":
                raise TemplateError(_REFUSED[token["refused"]])
    raise TemplateError(f"a {{{closing[0] if closing == '%}' else '{'} is never closed by {closing}")


_REFUSED = {
    "*": "`*` is not available in messages; write {{ price|times(3) }}",
    "{": "`{` is not available inside a tag; close the tag before it",
    "'": "a text in single quotes is never closed",
    '"': "a text in double quotes is never closed",
}


def _check_tag(body: str) -> None:
    word = re.match(r"\w*", body)
    assert word is not None
    if word[0] not in _TAGS:
        raise TemplateError(f"there is no tag {word[0]!r} in messages; the tags are {', '.join(_TAGS)}")
    if word[0] == "for" and (not _LOOP.fullmatch(body) or re.search(r"\brecursive\b", body)):
        raise TemplateError("a loop must run over a field or a range, as in {% for item in items|sort %}")


def _check_calls(body: str) -> None:
    """Only `range`, filters and tests take arguments: lists and dicts in fields have Python's own methods."""
    for call in _CALL.finditer(" ".join(_STRING.sub("''", body).split())):
        if not call["kind"] and call["name"] in _CALLABLE:
            continue
        if call["kind"] in (None, "."):
            raise TemplateError(
                f"{call['name']}() cannot be called in messages; use a filter, as in {{{{ name|upper }}}}"
            )


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise TemplateError(f"a value has more than {MAX_TEXT} characters")
    return text


def _range(*bounds: int) -> list[int]:
    """Python's range, of at most MAX_RANGE numbers."""
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise TemplateError(f"range() has {len(numbers)} numbers; {MAX_RANGE} is the limit")
    return list(numbers)


def _join(values: Any, separator: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        values = [_attribute(value, attribute) for value in values]
    if len(values) * len(separator) > MAX_TEXT:
        raise TemplateError(f"a joined text has more than {MAX_TEXT} characters")
    return _bounded(separator.join(value if isinstance(value, str) else _plain(value) for value in values))


def _attribute(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping) or name not in value:
        raise TemplateError(f"`{name}` is undefined for one of the values to join")
    return value[name]


def _replace(text: Any, old: str, new: str) -> str:
    text = text if isinstance(text, str) else _plain(text)
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise TemplateError(f"a replaced text has more than {MAX_TEXT} characters")
    return str(text.replace(old, new))


def _format(pattern: str, *values: Any) -> str:
    """Python's `%` for numbers and texts: `{{ "%.2f"|format(price) }}`."""
    if "%" in _FORMAT.sub("", pattern):
        raise TemplateError(f"{pattern!r} is no format; %s, %d, %5d, %05d, %.2f are examples")
    try:
        return _bounded(pattern % values)
    except TypeError as error:
        raise TemplateError(f"{pattern!r}|format: {error}") from None


def _times(value: Any, factor: Any) -> Any:
    for number in (value, factor):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TemplateError(f"times multiplies numbers, and {str(number)[:40]!r} is none")
    return value * factor


def _truncate(text: Any, length: int = 255, end: str = "…") -> str:
    """At most `length` characters, cut at a space where there is one."""
    full: str = text if isinstance(text, str) else _plain(text)
    if len(full) <= length:
        return full
    kept = full[: max(length - len(end), 0)]
    return kept.rsplit(" ", 1)[0] + end


_FILTERS: dict[str, Callable[..., Any]] = {
    "format": _format,
    "join": _join,
    "replace": _replace,
    "times": _times,
    "truncate": _truncate,
}
FILTERS = tuple(sorted((*_BUILT_IN, *_FILTERS)))
"""Every filter a message may use."""
