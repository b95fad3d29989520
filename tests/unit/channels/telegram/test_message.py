import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longwave.channels.base import Recipient, TemplateError
from longwave.channels.telegram import content as contents
from longwave.channels.telegram.channel import CHANNEL
from longwave.channels.telegram.message import TelegramMessage, chat_id

CONTENTS = [
    {"kind": "text", "text": "Hello", "parse_mode": "HTML", "silent": True},
    {"kind": "text", "text": "Hello {{ name }} & {{ name }}", "parse_mode": "HTML"},
    {"kind": "photo", "photo": "AgACfile_id", "caption": "_{{ name }}_", "parse_mode": "MarkdownV2"},
    {"kind": "dice"},
    {"kind": "copy", "from_chat_id": -100, "message_ids": [1, 2]},
    {"kind": "forward", "from_chat_id": "@news", "message_id": 3},
    {
        "kind": "text",
        "text": "gap {{ name }}",
        "keyboard": [[{"text": "For {{ name }}", "url": "https://example.org/?u={{ name|urlencode }}"}]],
    },
    {
        "kind": "album",
        "items": [
            {"kind": "photo", "media": "AgACone", "caption": "{{ name }} 1"},
            {"kind": "photo", "media": "AgACtwo", "caption": "{{ name }} 2"},
        ],
    },
]


def compiled(data: dict[str, object], *, paid: bool = False) -> TelegramMessage:
    message = CHANNEL.compile(CHANNEL.parse(data), paid=paid, media={})
    assert isinstance(message, TelegramMessage)
    return message


@pytest.mark.parametrize("data", CONTENTS, ids=lambda data: str(data["kind"]))
@given(name=st.text(st.characters(codec="utf-8"), max_size=30), paid=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_spliced_request_equals_one_that_is_built_anew(data: dict[str, object], name: str, paid: bool):
    message = compiled(data, paid=paid)
    recipient = Recipient("-1001234567890", {"name": name, "more": 1})
    expected = contents.params(message.filled(recipient), paid=paid)
    assert orjson.loads(message.render(recipient)) == {"chat_id": -1001234567890, **expected}


@given(st.integers(-(10**18), 10**18).filter(bool))
def test_a_number_is_sent_as_a_number(number: int):
    assert orjson.loads(chat_id(str(number))) == number


@given(st.text(st.characters(codec="utf-8")))
def test_any_address_is_one_json_value(address: str):
    value = orjson.loads(chat_id(address))
    assert str(value) == address


def test_a_message_knows_how_it_is_sent():
    plain, personal, *_, album = map(compiled, CONTENTS)
    assert (plain.is_personal, plain.weight, plain.method) == (False, 1, "sendMessage")
    assert personal.is_personal
    assert (album.weight, album.method) == (2, "sendMediaGroup")


def test_values_are_escaped_for_the_parse_mode_of_their_field():
    recipient = Recipient("1", {"name": "<a_b>"})
    assert orjson.loads(compiled(CONTENTS[1]).render(recipient))["text"] == "Hello &lt;a_b&gt; & &lt;a_b&gt;"
    assert orjson.loads(compiled(CONTENTS[2]).render(recipient))["caption"] == r"_<a\_b\>_"
    button = orjson.loads(compiled(CONTENTS[6]).render(recipient))["reply_markup"]["inline_keyboard"][0][0]
    assert button == {"text": "For <a_b>", "url": "https://example.org/?u=%3Ca_b%3E"}


def test_a_missing_field_stops_one_rendering_only():
    message = compiled(CONTENTS[1])
    with pytest.raises(TemplateError, match="`name`"):
        message.render(Recipient("1", {}))
    assert b"Ann" in message.render(Recipient("2", {"name": "Ann"}))


def test_a_broken_template_is_a_problem_that_names_its_field():
    content = CHANNEL.parse({"kind": "text", "text": "Hello {{ name"})
    assert [problem.field for problem in CHANNEL.check(content, paid=False)] == ["text"]
    with pytest.raises(TemplateError, match="text:"):
        CHANNEL.compile(content, paid=False, media={})


def test_a_preview_looks_at_the_text_as_it_would_arrive():
    content = CHANNEL.parse({"kind": "text", "text": "<b>{{ name }}</b>", "parse_mode": "HTML"})
    assert CHANNEL.check(content, paid=False) == []
    assert CHANNEL.preview(content, Recipient("1", {"name": "A < B"}), paid=False) == []
    too_long = CHANNEL.preview(content, Recipient("1", {"name": "x" * 5000}), paid=False)
    missing = CHANNEL.preview(content, Recipient("1", {}), paid=False)
    assert [problem.field for problem in too_long + missing] == ["text", "text"]
    assert "`name`" in missing[0].remedy


def test_media_that_is_no_longer_in_the_content_is_passed_over():
    content = CHANNEL.parse({"kind": "text", "text": "Hello"})
    assert not CHANNEL.compile(content, paid=False, media={"photo": "AgACold"}).needs_upload
