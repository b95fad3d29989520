import resource
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longwave.channels.base import TemplateError
from longwave.channels.telegram.markup import ESCAPES, PARSERS, escape_html
from longwave.channels.template import FILTERS, MAX_SOURCE, MAX_TEXT, Template


def render(source: str, **fields: object) -> str:
    return Template(source).render(fields)


def refused(source: str, **fields: object) -> str:
    with pytest.raises(TemplateError) as caught:
        Template(source, escape_html).render(fields)
    return str(caught.value)


def test_values_are_escaped_and_the_templates_own_text_is_not():
    template = Template('<b>{{ name }}</b> & {{ "<i>" }}', escape_html)
    assert template.render({"name": "A & <B>"}) == "<b>A &amp; &lt;B&gt;</b> & &lt;i&gt;"


def test_without_a_parse_mode_nothing_is_escaped():
    assert render("{{ name }}", name="<A & B>") == "<A & B>"


@pytest.mark.parametrize("mode", ["html", "markdownv2"])
@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=20))
@settings(deadline=None)
def test_a_value_never_becomes_markup(mode: str, value: str):
    rendered = Template("x{{ value }}x", ESCAPES[mode]).render({"value": value})
    parsed = PARSERS[mode](rendered)
    assert (parsed.text, parsed.entities) == (f"x{value}x", ())


def test_a_missing_field_is_named():
    assert "`name`" in refused("Hello {{ name }}")
    assert "`city.name`" in refused("{{ city.name }}", city={})
    assert "default(" in refused("{{ name }}")


def test_the_line_of_an_error_is_named():
    assert "line 3" in refused("a\nb\n{{ name }}")


def test_a_default_stands_in_for_a_missing_field():
    source = 'Hello {{ name|default("friend") }}'
    assert render(source) == "Hello friend"
    assert render(source, name="Ann") == "Hello Ann"
    assert render('{{ address.city|default("there") }}', address={}) == "there"


def test_a_field_that_is_none_counts_as_missing():
    assert render('{{ name|default("friend") }}', name=None) == "friend"
    assert "`name`" in refused("{{ name }}", name=None)
    assert "empty" in refused("{{ address.city }}", address={"city": None})


def test_lists_and_dicts_are_not_shown_as_python():
    assert "list" in refused("{{ tags }}", tags=["a"])
    assert "dict" in refused("{{ city }}", city={"name": "Rome"})
    assert render('{{ tags|join(", ") }}', tags=["a", 2]) == "a, 2"
    assert render('{{ cities|join(", ", attribute="name") }}', cities=[{"name": "Rome"}]) == "Rome"


def test_conditions_loops_and_numbers():
    assert render('{% if plan == "pro" %}P{% else %}F{% endif %}', plan="pro") == "P"
    assert render("{% for i in items if i > 1 %}{{ i }},{% endfor %}", items=[1, 2, 3]) == "2,3,"
    assert render("{% for k, v in d|items %}{{ k }}={{ v }}{% endfor %}", d={"a": 1}) == "a=1"
    assert render("{% for i in range(3) %}*{% endfor %}") == "***"
    assert render('{{ "%.2f"|format(price|times(3)) }} {{ price - 1 }}', price=2.5) == "7.50 1.5"
    assert render("{{ name|replace('a', 'o')|upper }}", name="banana") == "BONONO"
    assert render("{{ text|truncate(8) }}", text="hello big world") == "hello…"
    assert (
        render("https://example.org/?q={{ q|urlencode }}\n", q="a b&c")
        == "https://example.org/?q=a%20b%26c\n"
    )


def test_names_are_the_fields_it_asks_for():
    source = (
        "{{ name }}{% for i in items %}{{ i }}{{ city.name }}{% endfor %}{% for n in range(2) %}{% endfor %}"
    )
    assert Template(source).names() == {"name", "items", "city"}


def test_one_template_serves_many_recipients_without_a_trace():
    template = Template("{{ name|default('?') }}" * 3)
    texts = [
        template.render({"name": "x" * (MAX_TEXT // 4)}),
        template.render({}),
        template.render({"name": "b"}),
    ]
    assert texts[1:] == ["???", "bbb"]


HOSTILE = {
    "power": "{{ 9**99999999 }}",
    "repeat": "{{ 'x' * 100000000 }}",
    "repeat a list": "{{ [1] * 100000000 }}",
    "huge range": "{% for i in range(10000000000) %}x{% endfor %}",
    "range of a range": "{{ range(1000000000)|join }}",
    "nested loops": "{% for i in range(999) %}{% for j in range(999) %}{{ i }}{% endfor %}{% endfor %}",
    "long text in loops": "{% for i in range(999) %}{% for j in range(999) %}"
    + "x" * 9000
    + "{% endfor %}{% endfor %}",
    "doubling by set": "{% set x = 'aa' %}" + "{% set x = x ~ x %}" * 40,
    "doubling by a block": "{% set x %}aa{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
    "doubling by with": "{% with x = name ~ name %}" * 40 + "{% endwith %}" * 40,
    "doubling by a loop": "{% for name in [name ~ name] %}" * 40 + "{{ name }}" + "{% endfor %}" * 40,
    "doubling by a loop's default": "{% for name in none_|default([name, name]) %}" * 40
    + "{% endfor %}" * 40,
    "recursive loop": "{% for x in items recursive %}{{ loop([x, x]) }}{% endfor %}",
    "macro": "{% macro f(x) %}{{ x }}{{ x }}{% endmacro %}{{ f(f(f('a'))) }}",
    "replace": "{{ name" + "|replace('a', 'aaaaaaaaaaaaaaaaaaaa')" * 20 + " }}",
    "join": "{{ long|list }}",
    "join of characters": "{{ long|sort|join(long) }}",
    "format": "{{ '%999999999d'|format(1) }}",
    "format by star": "{{ '%*d'|format(999999999, 1) }}",
    "indent": "{{ name|indent(999999999) }}",
    "brackets": "{{ " + "(" * 8000 + "1" + ")" * 8000 + " }}",
    "negations": "{{ " + "- " * 8000 + "'' }}",
    "blocks": "{% if 1 %}" * 800 + "{% endif %}" * 800,
    "comparisons": "{{ " + "1 <= " * 3200 + "nope }}",
    "a long name": "{{ " + "a" * 16000 + " }}",
    "a long header": "{% for x in " + "a." * 8000 + " %}",
    "quotes": "{{ '" + '"' * 16000 + " }}",
    "many deep tags": ("{{ " + "- " * 490 + "'' }}") * 16,
    "deep tags": ("{{ " + "- " * 490 + "1 }}") * 16 + "{{ nope }}",
    "too long": "x" * (MAX_SOURCE + 1),
    "long fields": "{{ long }}" * 1000,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_ends_quickly_and_in_little_memory(source: str):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    refused(source, name="aaa", items=[1, 2], long="ab" * 20000)
    assert time.perf_counter() - started < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 * 1024  # kilobytes


@pytest.mark.parametrize(
    "source",
    [
        "{{ x.clear() }}",
        "{{ x['a'].clear () }}",
        "{{ (x.clear)() }}",
        "{% if x.pop('a') %}{% endif %}",
        "{% for i in range(x.pop('a')) %}{% endfor %}",
        "{{ x|default(x.clear()) }}",
        "{{ x.a.append(1) }}",
        "{{ x.__class__ }}",
        "{{ x['__class__'] }}",
        "{{ debug() }}",
        "{{ self }}",
        "{% include 'message' %}",
        "{% import 'message' as m %}",
        "{% extends 'message' %}",
        "{{ x|safe }}",
        "{{ x|attr('clear') }}",
        "{{ x|map('default') }}",
    ],
)
def test_nothing_but_the_fields_is_within_reach(source: str):
    fields = {"x": {"a": [1]}}
    refused(source, **fields)
    assert fields == {"x": {"a": [1]}}


def test_an_error_lists_what_there_is_instead():
    assert ", ".join(FILTERS) in refused("{{ name|shout }}", name="a")
    assert "if, elif" in refused("{% set a = 1 %}")
    assert "times" in refused("{{ a * 2 }}", a=1)
    assert "never closed" in refused("{{ name")
    assert "never closed" in refused("{{ 'name }}")


WORDS = [
    *(
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "name",
        "items",
        "|",
        "upper",
        "join",
        "replace",
        "(",
        ")",
        "'",
        '"',
    ),
    *(
        "if",
        "for",
        "in",
        "endfor",
        "endif",
        "else",
        "x",
        ".",
        "[",
        "]",
        ",",
        "~",
        "+",
        "-",
        "*",
        "1",
        "{",
        "==",
    ),
    *("default", "range", "not", "is", "defined", "\\", "=", "é", "recursive", "times", "format", " ", "\n"),
]


@given(pieces=st.lists(st.sampled_from(WORDS), max_size=25))
@settings(max_examples=400, deadline=None)
def test_any_text_renders_or_is_a_template_error(pieces: list[str]):
    try:
        template = Template("".join(pieces), escape_html)
        text = template.render({"name": "<n>", "items": [1, "b"], "x": {"a": None}})
    except TemplateError:
        return
    assert len(text) <= MAX_TEXT


def test_a_short_template_takes_microseconds():
    template = Template("Hello {{ name|default('friend') }}, from {{ city }}!", escape_html)
    fields = {"name": "Ann", "city": "Rome"} | {f"k{i}": "v" for i in range(20)}
    best = min(_seconds(template, fields) for _ in range(5))
    assert best < 20e-6  # some 3 µs on an idle machine; a CI machine is neither


def _seconds(template: Template, fields: dict[str, str]) -> float:
    started = time.perf_counter()
    for _ in range(1000):
        template.render(fields)
    return (time.perf_counter() - started) / 1000
