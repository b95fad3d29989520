"""Markup is read as Telegram reads it. Expected values follow the behaviour of TDLib's own parsers."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longwave.channels.telegram.links import checked_link, link_user_id
from longwave.channels.telegram.markup import (
    ESCAPES,
    PARSERS,
    Entity,
    MarkupError,
    Parsed,
    escape_html,
    escape_markdown_v2,
    parse_html,
    parse_markdown,
    parse_markdown_v2,
    utf16_length,
)

MODES = sorted(PARSERS)
MARKS = st.sampled_from(
    [
        *"<>&\"'/=\\_*[]()!`~|#+-{}. \n\r\t\0é🎉",
        *["__", "![", "](", "```", "||", "**>", "&#128512;", "&lt"],
        "tg://user?id=7",
    ]
)
TAGS = st.sampled_from(
    ["<b>", "</b>", '<a href="', '<code class="language-x">', "</code>", "<pre>", "</pre>", "</>"]
)
HOSTILE = st.lists(st.one_of(MARKS, TAGS, st.text(max_size=4)), max_size=20).map("".join)
WHOLE_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


def entity_of(parsed: Parsed) -> Entity:
    [entity] = parsed.entities
    return entity


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("b", "bold"),
        ("STRONG", "bold"),
        ("i", "italic"),
        ("em", "italic"),
        ("u", "underline"),
        ("ins", "underline"),
        ("s", "strikethrough"),
        ("strike", "strikethrough"),
        ("del", "strikethrough"),
        ("tg-spoiler", "spoiler"),
        ("code", "code"),
        ("pre", "pre"),
        ("blockquote", "blockquote"),
    ],
)
def test_every_simple_tag_becomes_its_entity(tag: str, kind: str) -> None:
    assert parse_html(f"🏟 <{tag}>né</{tag}>.") == Parsed("🏟 né.", (Entity(kind, 3, 2),))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<span class="tg-spoiler">x</span>', Entity("spoiler", 0, 1)),
        ("<blockquote expandable>x</blockquote>", Entity("expandable_blockquote", 0, 1)),
        ("<blockquote cite='y' expandable=no>x</>", Entity("expandable_blockquote", 0, 1)),
        ('<a href="Example.COM/A?b=&lt;">x</a>', Entity("text_link", 0, 1, url="http://example.com/A?b=<")),
        ("<a href=example.com>x</a>", Entity("text_link", 0, 1, url="http://example.com/")),
        ('<a href="tg://user?id=42">x</a>', Entity("text_mention", 0, 1, user_id=42)),
        ('<tg-emoji emoji-id="53">x</tg-emoji>', Entity("custom_emoji", 0, 1, custom_emoji_id="53")),
        (
            '<tg-time unix="9" format="wD">x</tg-time>',
            Entity("date_time", 0, 1, unix_time=9, date_time_format="wD"),
        ),
        ('<pre><code class="language-go">x</code></pre>', Entity("pre", 0, 1, language="go")),
        ('<code class="language-go"><pre>x</pre></code>', Entity("pre", 0, 1, language="go")),
        ('<code class="language-go">x</code>', Entity("code", 0, 1)),
    ],
)
def test_html_attributes_reach_the_entity(source: str, expected: Entity) -> None:
    parsed = parse_html(source)
    assert parsed.text == "x"
    assert entity_of(parsed) == expected


def test_an_address_may_stand_in_the_text_of_its_link() -> None:
    assert entity_of(parse_html("<a>example.com</a>")).url == "http://example.com/"
    assert entity_of(parse_markdown_v2(r"[example\.com]")).url == "http://example.com/"
    assert entity_of(parse_markdown("[example.com]")).url == "http://example.com/"


@pytest.mark.parametrize(
    "address", ["nodots", "", "ftp://a.b", "http://a b.c", "http://x.y:99999", "javascript:x"]
)
def test_a_bad_address_leaves_plain_text_and_no_error(address: str) -> None:
    assert parse_html(f'<a href="{address}">x</a>') == Parsed("x")
    assert parse_markdown_v2(f"[x]({address})") == Parsed("x")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("&lt;&gt;&amp;&quot;", '<>&"'),
        ("&lt3 &#36;&#x1F389;", "<3 $🎉"),
        ("&#0000065; &#00000065;", "A &#00000065;"),
        ("&nbsp; &LT; &#0; &#x110000; &#9999999999; & &;", "&nbsp; &LT; &#0; &#x110000; &#9999999999; & &;"),
    ],
)
def test_only_four_names_and_sane_numbers_are_character_references(source: str, text: str) -> None:
    assert parse_html(source) == Parsed(text)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("é <foo>x</foo>", 'Unsupported start tag "foo" at byte offset 3'),
        ("1 <2", "Unclosed start tag at byte offset 2"),
        ("1 < 2 > 1", 'Unsupported start tag "" at byte offset 2'),
        ("<br/>", 'Unsupported start tag "br/" at byte offset 0'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<b =c>x</b>", 'Empty attribute name in the tag "b" at byte offset 0'),
        ('<a href="x', "Unclosed start tag at byte offset 0"),
        ("<a href=", 'Unclosed start tag "a" at byte offset 0'),
        ("<a href=x_y>", "Unexpected end of name token at byte offset 8"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ('<tg-emoji emoji-id="x">x</tg-emoji>', "Invalid custom emoji identifier specified"),
        ('<tg-time unix="1" format="rt">x</tg-time>', "Invalid date format used"),
    ],
)
def test_bad_html_is_refused_in_telegrams_words(source: str, error: str) -> None:
    with pytest.raises(MarkupError) as raised:
        parse_html(source)
    assert str(raised.value) == error


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(MarkupError, match="unmatched surrogate code units"):
        parse_html("&#xD83C;")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("*x*", Entity("bold", 0, 1)),
        ("_x_", Entity("italic", 0, 1)),
        ("__x__", Entity("underline", 0, 1)),
        ("~x~", Entity("strikethrough", 0, 1)),
        ("||x||", Entity("spoiler", 0, 1)),
        ("`x`", Entity("code", 0, 1)),
        ("```x```", Entity("pre", 0, 1)),
        ("```py\nx```", Entity("pre", 0, 1, language="py")),
        ("[x](https://a.b/\\))", Entity("text_link", 0, 1, url="https://a.b/)")),
        ("[x](tg://user?id=7)", Entity("text_mention", 0, 1, user_id=7)),
        ("![x](tg://emoji?id=5)", Entity("custom_emoji", 0, 1, custom_emoji_id="5")),
        ("![x](tg://time?unix=5&format=r)", Entity("date_time", 0, 1, unix_time=5, date_time_format="r")),
        (">x", Entity("blockquote", 0, 1)),
        (">x||", Entity("expandable_blockquote", 0, 1)),
    ],
)
def test_every_mark_of_markdown_v2_becomes_its_entity(source: str, expected: Entity) -> None:
    parsed = parse_markdown_v2(source)
    assert parsed.text == "x"
    assert entity_of(parsed) == expected


def test_markdown_v2_nests_and_returns_the_outer_entity_first() -> None:
    assert parse_markdown_v2("*b _bi __biu___ ~s~*").entities == (
        Entity("bold", 0, 10),
        Entity("italic", 2, 6),
        Entity("underline", 5, 3),
        Entity("strikethrough", 9, 1),
    )


def test_of_two_entities_at_one_place_the_longer_comes_first() -> None:
    assert parse_html("<i><b>a</b>b</i>").entities == (Entity("italic", 0, 2), Entity("bold", 0, 1))


def test_of_two_entities_over_one_stretch_telegrams_order_decides() -> None:
    assert parse_html("<s><b>a</b></s>").entities == (Entity("bold", 0, 1), Entity("strikethrough", 0, 1))


def test_two_bars_at_the_end_of_a_quotation_make_it_expandable() -> None:
    assert parse_markdown_v2(">a||\nb") == Parsed("a\nb", (Entity("expandable_blockquote", 0, 2),))
    assert parse_markdown_v2(">a||\r\nb").entities == (Entity("expandable_blockquote", 0, 3),)


def test_quotations_run_over_lines_and_two_can_follow_each_other() -> None:
    parsed = parse_markdown_v2(">a\n>b\n**>c\nd")
    assert parsed.text == "a\nb\nc\nd"
    assert parsed.entities == (Entity("blockquote", 0, 4), Entity("blockquote", 4, 2))


def test_nothing_but_backticks_and_backslashes_means_anything_in_code() -> None:
    assert parse_markdown_v2("`a*_[.\\``") == Parsed("a*_[.`", (Entity("code", 0, 6),))


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("Hi.", "Character '.' is reserved and must be escaped with the preceding '\\'"),
        ("a>b", "Character '>' is reserved and must be escaped with the preceding '\\'"),
        (r"\a>b", "Character '>' is reserved and must be escaped with the preceding '\\'"),
        (">a||b", "Can't find end of Spoiler entity at byte offset 2"),
        ("a | b", "Character '|' is reserved and must be escaped with the preceding '\\'"),
        ("wow!", "Character '!' is reserved and must be escaped with the preceding '\\'"),
        ("é 1 *x", "Can't find end of Bold entity at byte offset 5"),
        ("__x", "Can't find end of Underline entity at byte offset 0"),
        ("```py\nx", "Can't find end of PreCode entity at byte offset 0"),
        ("[x](a.b", "Can't find end of a URL at byte offset 4"),
        (">*a\nb*", "Can't find end of Bold entity at byte offset 1"),
        ("![x]", "The entity must contain a tg://emoji or tg://time URL"),
        ("![x](https://a.b)", "Invalid tg://emoji or tg://time URL specified"),
    ],
)
def test_bad_markdown_v2_is_refused_in_telegrams_words(source: str, error: str) -> None:
    with pytest.raises(MarkupError) as raised:
        parse_markdown_v2(source)
    assert str(raised.value) == error


def test_legacy_markdown_does_not_nest() -> None:
    parsed = parse_markdown("*a _b_* `c` [d](a.b) ```py\ne``` \\_")
    assert parsed.text == "a _b_ c d e _"
    assert parsed.entities == (
        Entity("bold", 0, 5),
        Entity("code", 6, 1),
        Entity("text_link", 8, 1, url="http://a.b/"),
        Entity("pre", 10, 1, language="py"),
    )


def test_an_open_mark_of_legacy_markdown_is_refused_in_telegrams_words() -> None:
    with pytest.raises(MarkupError) as raised:
        parse_markdown("é snake_case")
    assert str(raised.value) == "Can't find end of the entity starting at byte offset 8"


@pytest.mark.parametrize(
    ("link", "stored"),
    [
        ("HTTPS://User@Example.com:0443/a b", "https://User@example.com:443/a%20b"),
        ("example.com?x", "http://example.com/?x"),
        ("tg://resolve?domain=x", "tg://resolve?domain=x"),
        ("TG:resolve", "tg://resolve/"),
        ("http://[::1]:8/", "http://[::1]:8/"),
        ("http://[::z]/", ""),
        ("https://a.b/\ud800", ""),
    ],
)
def test_links_are_stored_as_telegram_writes_them(link: str, stored: str) -> None:
    assert checked_link(link) == stored


@pytest.mark.parametrize(
    "link", ["tg://user?id=0", "tg://user?id=01", "tg://users?id=1", "https://t.me/user?id=1"]
)
def test_not_every_link_with_an_id_is_a_mention(link: str) -> None:
    assert link_user_id(link) is None


@given(st.text())
def test_length_is_that_of_utf16(text: str) -> None:
    assert utf16_length(text) == sum(2 if ord(character) > 0xFFFF else 1 for character in text)


@pytest.mark.parametrize("parse", [parse_html, parse_markdown, parse_markdown_v2])
@given(text=HOSTILE)
@settings(max_examples=400, deadline=None)
def test_parsing_returns_sound_entities_or_refuses(parse: Callable[[str], Parsed], text: str) -> None:
    try:
        parsed = parse(text)
    except MarkupError:
        return
    length = utf16_length(parsed.text)
    for entity in parsed.entities:
        assert entity.length > 0
        assert 0 <= entity.offset <= length - entity.length
    offsets = [entity.offset for entity in parsed.entities]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize("mode", MODES)
@given(text=WHOLE_TEXT)
@settings(max_examples=300, deadline=None)
def test_escaped_text_is_shown_as_it_stands(mode: str, text: str) -> None:
    assert PARSERS[mode](ESCAPES[mode](text)) == Parsed(text)


@given(text=WHOLE_TEXT)
@settings(max_examples=200, deadline=None)
def test_escaped_text_stays_inside_the_entity_around_it(text: str) -> None:
    expected = Parsed(text, (Entity("bold", 0, utf16_length(text)),) if text else ())
    assert parse_html(f"<b>{escape_html(text)}</b>") == expected
    assert parse_markdown_v2(f"*{escape_markdown_v2(text)}*") == expected
