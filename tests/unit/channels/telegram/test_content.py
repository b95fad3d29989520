"""Content: every problem of it is named, before anything is sent; and it becomes the right request."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longwave.channels.telegram.content import (
    Content,
    attach_name,
    check,
    check_rendered,
    file_ids,
    local_files,
    message_ids,
    method,
    params,
    parse,
    parse_mode_of,
    templates,
    to_json,
    weight,
    with_file_ids,
    with_rendered,
)
from longwave.channels.telegram.kinds import KINDS
from longwave.core.errors import InvalidInput, Problem

URL = "https://example.com/x"
PHOTO = {"kind": "photo", "media": URL}
VIDEO = {"kind": "video", "media": "BAAC_video-id"}

REQUESTS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"kind": "text", "text": "a"}, "sendMessage", {"text": "a"}),
    ({"kind": "photo", "photo": URL}, "sendPhoto", {"photo": URL}),
    ({"kind": "video", "video": {"file_id": "V"}}, "sendVideo", {"video": "V"}),
    ({"kind": "animation", "animation": "A"}, "sendAnimation", {"animation": "A"}),
    ({"kind": "audio", "audio": "A", "performer": "P"}, "sendAudio", {"audio": "A", "performer": "P"}),
    ({"kind": "voice", "voice": "A"}, "sendVoice", {"voice": "A"}),
    ({"kind": "video_note", "video_note": "A"}, "sendVideoNote", {"video_note": "A"}),
    ({"kind": "document", "document": "A"}, "sendDocument", {"document": "A"}),
    ({"kind": "sticker", "sticker": "A"}, "sendSticker", {"sticker": "A"}),
    (
        {"kind": "poll", "question": "q", "options": ["a", "b"], "is_anonymous": False},
        "sendPoll",
        {
            "question": "q",
            "options": [{"text": "a"}, {"text": "b"}],
            "type": "regular",
            "is_anonymous": False,
        },
    ),
    (
        {"kind": "location", "latitude": 0, "longitude": 1},
        "sendLocation",
        {"latitude": 0.0, "longitude": 1.0},
    ),
    (
        {"kind": "venue", "latitude": 0, "longitude": 1.5, "title": "t", "address": "a"},
        "sendVenue",
        {"latitude": 0.0, "longitude": 1.5, "title": "t", "address": "a"},
    ),
    (
        {"kind": "contact", "phone_number": "+1", "first_name": "f"},
        "sendContact",
        {"phone_number": "+1", "first_name": "f"},
    ),
    ({"kind": "dice", "emoji": "🎯"}, "sendDice", {"emoji": "🎯"}),
    (
        {"kind": "album", "items": [PHOTO, VIDEO | {"caption": "c"}]},
        "sendMediaGroup",
        {
            "media": [
                {"type": "photo", "media": URL},
                {"type": "video", "media": "BAAC_video-id", "caption": "c"},
            ]
        },
    ),
    (
        {"kind": "copy", "from_chat_id": -1, "message_id": 2, "caption": ""},
        "copyMessage",
        {"from_chat_id": -1, "message_id": 2, "caption": ""},
    ),
    (
        {"kind": "copy", "from_chat_id": -1, "message_ids": [2, 3], "remove_caption": True},
        "copyMessages",
        {"from_chat_id": -1, "message_ids": [2, 3], "remove_caption": True},
    ),
    (
        {"kind": "forward", "from_chat_id": "@news", "message_id": 2},
        "forwardMessage",
        {"from_chat_id": "@news", "message_id": 2},
    ),
    (
        {"kind": "forward", "from_chat_id": "@news", "message_ids": [2, 3]},
        "forwardMessages",
        {"from_chat_id": "@news", "message_ids": [2, 3]},
    ),
]


def problems_of(data: object) -> dict[str, str]:
    """Field → remedy of what `parse` finds wrong."""
    with pytest.raises(InvalidInput) as raised:
        parse(data)  # type: ignore[arg-type]
    return {problem.field: problem.remedy for problem in raised.value.problems}


def parsed_or_problems(data: dict[str, Any]) -> tuple[Content | None, tuple[Problem, ...]]:
    try:
        return parse(data), ()
    except InvalidInput as refusal:
        return None, refusal.problems


def refused(data: dict[str, Any], *, paid: bool = False) -> dict[str, str]:
    """Field → remedy of what `check` finds wrong."""
    return {problem.field: problem.remedy for problem in check(parse(data), paid=paid)}


def with_button(**action: object) -> dict[str, Any]:
    return {"kind": "text", "text": "a", "keyboard": [[{"text": "b", **action}]]}


@pytest.mark.parametrize(("data", "name", "expected"), REQUESTS, ids=lambda value: str(value)[:40])
def test_every_kind_becomes_its_request(data: dict[str, Any], name: str, expected: dict[str, Any]) -> None:
    content = parse(data)
    assert check(content) == []
    assert (method(content), params(content)) == (name, expected)
    assert json.loads(json.dumps(params(content))) == expected


def test_the_requests_above_cover_every_kind() -> None:
    assert {data["kind"] for data, _, _ in REQUESTS} == set(KINDS)


def test_options_become_parameters() -> None:
    content = parse(
        {
            "kind": "text",
            "text": "ab",
            "entities": [{"type": "text_mention", "offset": 0, "length": 1, "user_id": 7}],
            "silent": True,
            "protected": True,
            "topic_id": 4,
            "message_effect_id": "5104841245755180586",
            "link_preview": {"url": URL, "show_above_text": True},
            "keyboard": [[{"text": "b", "url": URL}, {"text": "c", "copy_text": "d"}]],
        }
    )
    assert check(content, paid=True) == []
    assert params(content, paid=True) == {
        "text": "ab",
        "entities": [{"type": "text_mention", "offset": 0, "length": 1, "user": {"id": 7}}],
        "disable_notification": True,
        "protect_content": True,
        "message_thread_id": 4,
        "message_effect_id": "5104841245755180586",
        "link_preview_options": {"url": URL, "show_above_text": True},
        "reply_markup": {
            "inline_keyboard": [[{"text": "b", "url": URL}, {"text": "c", "copy_text": {"text": "d"}}]]
        },
        "allow_paid_broadcast": True,
    }


def test_entities_of_a_caption_have_the_name_that_captions_need() -> None:
    bold = [{"type": "bold", "offset": 0, "length": 1}]
    content = parse({"kind": "photo", "photo": URL, "caption": "a", "entities": bold})
    assert params(content) == {"photo": URL, "caption": "a", "caption_entities": bold}


def test_parse_names_every_problem_at_once() -> None:
    found = problems_of(
        {
            "kind": "text",
            "txt": "a",
            "silent": "yes",
            "topic_id": True,
            "parse_mode": "html",
            "keyboard": [[{"text": "b"}, {"text": "c", "url": 5}], "row"],
            "link_preview": {"big": True},
        }
    )
    assert found["text"] == "is missing"
    assert "allowed: kind, silent" in found["txt"]
    assert found["silent"] == "must be true or false"
    assert found["topic_id"] == "must be a whole number"
    assert "MarkdownV2" in found["parse_mode"]
    assert "exactly one action" in found["keyboard[0][0]"]
    assert found["keyboard[0][1].url"] == "must be a string"
    assert found["keyboard[1]"] == "must be a list"
    assert "prefer_small_media" in found["link_preview.big"]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ([], "content"),
        ({}, "kind"),
        ({"kind": "letter"}, "kind"),
        ({"kind": ["text"]}, "kind"),
        ({"kind": "text", "text": "a\0"}, "text"),
        ({"kind": "text", "text": "\ud83c"}, "text"),
        ({"kind": "photo", "photo": {"url": URL, "path": "a"}}, "photo"),
        ({"kind": "photo", "photo": {}}, "photo"),
        ({"kind": "photo", "photo": None}, "photo"),
        ({"kind": "album", "items": [{"kind": "sticker", "media": "A"}]}, "items[0].kind"),
        ({"kind": "album", "items": [PHOTO, {"kind": "photo"}]}, "items[1].media"),
        ({"kind": "copy", "from_chat_id": 1}, "message_id"),
        ({"kind": "forward", "from_chat_id": 1, "message_id": 1, "message_ids": [1]}, "message_id"),
        ({"kind": "forward", "from_chat_id": 1.5, "message_id": 1}, "from_chat_id"),
        ({"kind": "forward", "from_chat_id": 1 << 70, "message_id": 1}, "from_chat_id"),
        ({"kind": "location", "latitude": float("nan"), "longitude": 0}, "latitude"),
        ({"kind": "dice", "emoji": "🙂"}, "emoji"),
        ({"kind": "text", "text": "a", 5: "b"}, "5"),
        (with_button(url=URL, callback_data="x"), "keyboard[0][0]"),
    ],
)
def test_parse_refuses_and_names_the_field(data: object, field: str) -> None:
    assert field in problems_of(data)


@pytest.mark.parametrize(
    ("text", "mode", "fits"),
    [
        ("x" * 4096, None, True),
        ("x" * 4097, None, False),
        ("🎉" * 2048, None, True),
        ("🎉" * 2049, None, False),
        ("<b>" + "x" * 4096 + "</b>", "HTML", True),
        ("<b>" + "x" * 4097 + "</b>", "HTML", False),
        ("&lt;" * 4096, "HTML", True),
        ("<b> </b>\n", "HTML", False),
        ("", None, False),
        (r"\." * 4096, "MarkdownV2", True),
        ("Hi.", "MarkdownV2", False),
        ("snake_case", "MarkdownV2", False),
        ("snake_case", None, True),
    ],
    ids=lambda value: str(value)[:12],
)
def test_length_counts_what_is_left_after_markup(text: str, mode: str | None, fits: bool) -> None:
    assert refused({"kind": "text", "text": text, "parse_mode": mode}).keys() == (set() if fits else {"text"})


def test_the_legacy_markdown_is_refused_with_what_to_use() -> None:
    _, problems = parsed_or_problems({"kind": "text", "text": "*hi*", "parse_mode": "Markdown"})
    assert [str(problem) for problem in problems] == [
        "parse_mode = 'Markdown': must be one of HTML, MarkdownV2"
    ]


def test_captions_are_shorter_and_may_be_empty() -> None:
    assert refused({"kind": "photo", "photo": URL, "caption": "x" * 1024}) == {}
    assert refused({"kind": "photo", "photo": URL, "caption": ""}) == {}
    assert "caption" in refused({"kind": "photo", "photo": URL, "caption": "x" * 1025})
    long_item = VIDEO | {"caption": "x" * 1025}
    assert "items[1].caption" in refused({"kind": "album", "items": [PHOTO, long_item]})


def test_bad_markup_is_named_in_telegrams_words() -> None:
    remedy = refused({"kind": "text", "text": "<x>a", "parse_mode": "HTML"})["text"]
    assert 'Unsupported start tag "x" at byte offset 0' in remedy


@pytest.mark.parametrize(
    ("entity", "field"),
    [
        ({"type": "bold", "offset": 0, "length": 3}, "entities[0]"),
        ({"type": "bold", "offset": -1, "length": 2}, "entities[0]"),
        ({"type": "bold", "offset": 0, "length": 0}, "entities[0]"),
        ({"type": "bald", "offset": 0, "length": 1}, "entities[0].type"),
        ({"type": "text_link", "offset": 0, "length": 1, "url": "nodots"}, "entities[0].url"),
        ({"type": "text_mention", "offset": 0, "length": 1}, "entities[0].user_id"),
        ({"type": "custom_emoji", "offset": 0, "length": 1}, "entities[0].custom_emoji_id"),
        ({"type": "date_time", "offset": 0, "length": 1}, "entities[0].unix_time"),
    ],
)
def test_an_entity_must_fit_its_text(entity: dict[str, Any], field: str) -> None:
    assert field in refused({"kind": "text", "text": "🎉", "entities": [entity]})


def test_entities_go_with_neither_parse_mode_nor_templates_nor_nothing() -> None:
    bold = [{"type": "bold", "offset": 0, "length": 1}]
    assert "entities" in refused({"kind": "text", "text": "ab", "entities": bold, "parse_mode": "HTML"})
    assert "entities" in refused({"kind": "text", "text": "ab {{ c }}", "entities": bold})
    assert "entities" in refused({"kind": "photo", "photo": URL, "entities": bold})
    assert refused({"kind": "text", "text": "ab", "entities": bold}) == {}


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ({"url": "nodots"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"callback_data": "é" * 33}, "callback_data"),
        ({"callback_data": ""}, "callback_data"),
        ({"web_app": "http://a.b"}, "web_app.url"),
        ({"login_url": {"url": "tg://x"}}, "login_url.url"),
        ({"copy_text": "x" * 257}, "copy_text.text"),
        ({"pay": True}, "pay"),
        ({"url": URL, "icon_custom_emoji_id": "x"}, "icon_custom_emoji_id"),
        ({"url": URL, "text": " "}, "text"),
        ({"switch_inline_query": "{{ name }}"}, "switch_inline_query"),
    ],
)
def test_a_bad_button_is_named(action: dict[str, Any], field: str) -> None:
    assert list(refused(with_button(**action))) == [f"keyboard[0][0].{field}"]


@pytest.mark.parametrize(
    "action",
    [
        {"url": "tg://user?id=1"},
        {"callback_data": "é" * 32},
        {"web_app": "https://a.b"},
        {"switch_inline_query": ""},
        {"switch_inline_query_current_chat": "x"},
        {"switch_inline_query_chosen_chat": {"allow_user_chats": True}},
        {"copy_text": {"text": "x" * 256}, "style": "primary"},
    ],
)
def test_every_kind_of_button_is_accepted(action: dict[str, Any]) -> None:
    assert refused(with_button(**action)) == {}


def test_a_keyboard_has_no_empty_row_and_at_most_a_hundred_buttons() -> None:
    button = {"text": "a", "url": URL}
    assert "keyboard[1]" in refused({"kind": "text", "text": "a", "keyboard": [[button], []]})
    assert "keyboard" in refused({"kind": "text", "text": "a", "keyboard": [[button] * 8] * 13})


def test_pay_works_under_a_copied_invoice_only() -> None:
    copy = {"kind": "copy", "from_chat_id": 1, "message_id": 1, "keyboard": [[{"text": "Pay", "pay": True}]]}
    assert refused(copy) == {}


@pytest.mark.parametrize(
    ("kinds", "fits"),
    [
        (["photo", "video"], True),
        (["audio", "audio"], True),
        (["document"] * 10, True),
        (["photo"], False),
        (["photo"] * 11, False),
        (["photo", "audio"], False),
        (["document", "video"], False),
        ([], False),
    ],
)
def test_an_album_has_two_to_ten_items_that_mix(kinds: list[str], fits: bool) -> None:
    album = {"kind": "album", "items": [{"kind": kind, "media": "A"} for kind in kinds]}
    assert refused(album).keys() == (set() if fits else {"items"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": "x" * 301}, "question"),
        ({"options": ["a"]}, "options"),
        ({"options": [str(number) for number in range(13)]}, "options"),
        ({"options": ["a", "x" * 101]}, "options[1]"),
        ({"options": ["a", "b", "a"]}, "options[2]"),
        ({"type": "quiz"}, "correct_option_id"),
        ({"type": "quiz", "correct_option_id": 2}, "correct_option_id"),
        (
            {"type": "quiz", "correct_option_id": 0, "allows_multiple_answers": True},
            "allows_multiple_answers",
        ),
        ({"type": "quiz", "correct_option_id": 0, "explanation": "a\nb\nc\nd"}, "explanation"),
        ({"type": "quiz", "correct_option_id": 0, "explanation": "<b", "parse_mode": "HTML"}, "explanation"),
        ({"correct_option_id": 0}, "correct_option_id"),
        ({"explanation": "a"}, "explanation"),
        ({"open_period": 4}, "open_period"),
        ({"open_period": 5, "close_date": 2_000_000_000}, "close_date"),
        ({"question": "{{ q }}"}, "question"),
    ],
)
def test_a_bad_poll_is_named(changes: dict[str, Any], field: str) -> None:
    assert list(refused({"kind": "poll", "question": "q", "options": ["a", "b"], **changes})) == [field]


def test_a_quiz_names_its_answer_for_new_and_old_servers() -> None:
    quiz = {"kind": "poll", "question": "q", "options": ["a", "b"], "type": "quiz", "correct_option_id": 1}
    content = parse(quiz | {"explanation": "<b>x</b>", "parse_mode": "HTML"})
    assert check(content) == []
    sent = params(content)
    assert (sent["correct_option_id"], sent["correct_option_ids"]) == (1, [1])
    assert sent["explanation_parse_mode"] == "HTML"
    assert "parse_mode" not in sent


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"kind": "location", "latitude": 91, "longitude": 0}, "latitude"),
        ({"kind": "location", "latitude": 0, "longitude": 0, "live_period": 59}, "live_period"),
        ({"kind": "location", "latitude": 0, "longitude": 0, "heading": 361}, "heading"),
        ({"kind": "venue", "latitude": 0, "longitude": 0, "title": " ", "address": "a"}, "title"),
        ({"kind": "contact", "phone_number": "", "first_name": "a"}, "phone_number"),
        ({"kind": "contact", "phone_number": "1", "first_name": "a", "vcard": "é" * 1025}, "vcard"),
        ({"kind": "text", "text": "a", "topic_id": 0}, "topic_id"),
        ({"kind": "text", "text": "a", "message_effect_id": "fire"}, "message_effect_id"),
        ({"kind": "text", "text": "a", "link_preview": {"url": "tg://x"}}, "link_preview.url"),
        ({"kind": "photo", "photo": "./a.jpg"}, "photo"),
        ({"kind": "photo", "photo": {"url": "ftp://a.b/c"}}, "photo.url"),
        ({"kind": "video_note", "video_note": URL}, "video_note.url"),
        ({"kind": "video", "video": "A", "duration": -1}, "duration"),
        ({"kind": "album", "items": [PHOTO, VIDEO | {"width": -1}]}, "items[1].width"),
        ({"kind": "copy", "from_chat_id": 0, "message_id": 1}, "from_chat_id"),
        ({"kind": "copy", "from_chat_id": "news", "message_id": 1}, "from_chat_id"),
        ({"kind": "copy", "from_chat_id": 1, "message_id": -1}, "message_id"),
        ({"kind": "copy", "from_chat_id": 1, "message_ids": [2, 1]}, "message_ids"),
        ({"kind": "copy", "from_chat_id": 1, "message_ids": list(range(1, 102))}, "message_ids"),
        ({"kind": "copy", "from_chat_id": 1, "message_ids": [1, 2], "caption": "a"}, "caption"),
        ({"kind": "copy", "from_chat_id": 1, "message_id": 1, "remove_caption": True}, "remove_caption"),
        (
            {"kind": "forward", "from_chat_id": 1, "message_ids": [1], "message_effect_id": "5"},
            "message_effect_id",
        ),
    ],
)
def test_check_refuses_and_names_the_field(data: dict[str, Any], field: str) -> None:
    assert list(refused(data)) == [field]


def test_a_paid_broadcast_is_refused_where_telegram_has_none() -> None:
    assert "paid" in refused({"kind": "forward", "from_chat_id": 1, "message_id": 1}, paid=True)
    assert "paid" in refused({"kind": "copy", "from_chat_id": 1, "message_ids": [1, 2]}, paid=True)
    assert refused({"kind": "copy", "from_chat_id": 1, "message_id": 1}, paid=True) == {}


def sized(folder: Path, name: str, size: int) -> str:
    with (folder / name).open("wb") as file:
        file.truncate(size)
    return str(folder / name)


def test_local_files_must_exist_and_fit(tmp_path: Path) -> None:
    fits = sized(tmp_path, "fits", 10 << 20)
    over = sized(tmp_path, "over", (10 << 20) + 1)
    huge = sized(tmp_path, "huge", (50 << 20) + 1)
    assert refused({"kind": "photo", "photo": {"path": fits}}) == {}
    assert "10 MB" in refused({"kind": "photo", "photo": {"path": over}})["photo.path"]
    assert refused({"kind": "document", "document": {"path": over}}) == {}
    assert "50 MB" in refused({"kind": "document", "document": {"path": huge}})["document.path"]
    missing = {"kind": "photo", "media": {"path": str(tmp_path / "none")}}
    assert "no such file" in refused({"kind": "album", "items": [PHOTO, missing]})["items[1].media.path"]
    assert "photo.path" in refused({"kind": "photo", "photo": {"path": str(tmp_path)}})
    assert "photo.path" in refused({"kind": "photo", "photo": {"path": sized(tmp_path, "empty", 0)}})
    assert "photo.path" in refused({"kind": "photo", "photo": {"path": "x" * 5000}})


def test_a_thumbnail_is_a_small_file_of_an_uploaded_one(tmp_path: Path) -> None:
    video, small = sized(tmp_path, "v", 9), sized(tmp_path, "s", 200 << 10)
    large = sized(tmp_path, "l", (200 << 10) + 1)
    data = {"kind": "video", "video": {"path": video}}
    assert refused(data | {"thumbnail": {"path": small}}) == {}
    assert "200 kB" in refused(data | {"thumbnail": {"path": large}})["thumbnail.path"]
    assert "thumbnail" in refused({"kind": "video", "video": "A", "thumbnail": {"path": small}})
    assert "thumbnail" in refused(data | {"thumbnail": "A"})


def uploads() -> Content:
    return parse(
        {
            "kind": "album",
            "items": [
                {"kind": "photo", "media": {"path": "/p.jpg"}},
                {
                    "kind": "video",
                    "media": {"path": "/v.mp4"},
                    "cover": {"path": "/c.jpg"},
                    "thumbnail": {"path": "/t.jpg"},
                },
                VIDEO,
            ],
        }
    )


UPLOADED = [
    {
        "message_id": 5,
        "photo": [
            {"file_id": "small", "width": 90, "height": 90},
            {"file_id": "large", "width": 900, "height": 900},
            {"file_id": "middle", "width": 320, "height": 320},
        ],
    },
    {
        "message_id": 6,
        "video": {"file_id": "vid", "cover": [{"file_id": "cov", "width": 9, "height": 9}]},
    },
    {"message_id": 7, "video": {"file_id": "BAAC_video-id"}},
]


def test_a_local_file_is_uploaded_once_and_then_known_by_its_id() -> None:
    content = uploads()
    assert {field: str(path) for field, path in local_files(content).items()} == {
        "items[0].media": "/p.jpg",
        "items[1].media": "/v.mp4",
        "items[1].cover": "/c.jpg",
        "items[1].thumbnail": "/t.jpg",
    }
    media: Any = params(content)["media"]
    assert (
        media[1]["thumbnail"]
        == "attach://" + attach_name("items[1].thumbnail")
        == "attach://items_1_thumbnail"
    )
    found = file_ids(UPLOADED, content)
    assert found == {"items[0].media": "large", "items[1].media": "vid", "items[1].cover": "cov"}
    again = with_file_ids(content, found)
    assert local_files(again) == {}
    assert params(again)["media"] == [
        {"type": "photo", "media": "large"},
        {"type": "video", "media": "vid", "cover": "cov"},
        {"type": "video", "media": "BAAC_video-id"},
    ]


def test_a_thumbnail_stays_until_its_own_file_is_known() -> None:
    content = with_file_ids(uploads(), {"items[1].cover": "cov"})
    assert set(local_files(content)) == {"items[0].media", "items[1].media", "items[1].thumbnail"}


def test_a_file_is_found_under_what_telegram_took_it_for() -> None:
    content = parse({"kind": "video", "video": {"path": "/v.mp4"}, "thumbnail": {"path": "/t.jpg"}})
    result = {"message_id": 1, "animation": {"file_id": "gif"}, "document": {"file_id": "gif"}}
    assert file_ids(result, content) == {"video": "gif"}
    assert params(with_file_ids(content, {"video": "gif"})) == {"video": "gif"}
    assert file_ids({"message_id": 1}, content) == {}
    with pytest.raises(KeyError):
        with_file_ids(content, {"photo": "x"})


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"message_id": 5}, [5]),
        ([{"message_id": 5}, {"message_id": 6}], [5, 6]),
        (UPLOADED, [5, 6, 7]),
        (True, []),
        ("ok", []),
        (None, []),
    ],
)
def test_message_ids_come_out_of_every_result(result: object, expected: list[int]) -> None:
    assert message_ids(result) == expected


def test_weight_is_the_number_of_messages() -> None:
    assert weight(parse({"kind": "text", "text": "a"})) == 1
    assert weight(uploads()) == 3
    assert weight(parse({"kind": "copy", "from_chat_id": 1, "message_id": 9})) == 1
    assert weight(parse({"kind": "forward", "from_chat_id": 1, "message_ids": [1, 2, 3]})) == 3


def test_templates_are_found_where_they_are_rendered() -> None:
    content = parse(
        {
            "kind": "photo",
            "photo": URL,
            "caption": "Hi {{ name }}",
            "parse_mode": "HTML",
            "keyboard": [
                [{"text": "{% if a %}b{% endif %}", "url": "https://a.b/{{ id }}"}, {"text": "c", "url": URL}]
            ],
        }
    )
    sources = templates(content)
    assert sources == {
        "caption": "Hi {{ name }}",
        "keyboard[0][0].text": "{% if a %}b{% endif %}",
        "keyboard[0][0].url": "https://a.b/{{ id }}",
    }
    assert [parse_mode_of(content, field) for field in sources] == ["HTML", None, None]
    assert check(content) == []
    rendered = with_rendered(content, dict.fromkeys(sources, "x") | {"keyboard[0][0].url": URL})
    assert templates(rendered) == {}
    assert params(rendered)["caption"] == "x"
    assert check_rendered(rendered) == []
    with pytest.raises(KeyError):
        with_rendered(content, {"photo": "x"})


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ({"callback_data": "{{ a }}"}, "callback_data"),
        ({"web_app": "{{ a }}"}, "web_app.url"),
        ({"login_url": "{{ a }}"}, "login_url.url"),
        ({"copy_text": "{{ a }}"}, "copy_text.text"),
    ],
)
def test_what_a_button_does_may_differ_by_recipient(action: dict[str, Any], field: str) -> None:
    content = parse(with_button(**action))
    assert templates(content) == {f"keyboard[0][0].{field}": "{{ a }}"}
    assert check(content) == []


def test_album_captions_are_templates_of_their_own() -> None:
    item = {"kind": "photo", "media": URL, "caption": "{{ a }}", "parse_mode": "MarkdownV2"}
    content = parse({"kind": "album", "items": [PHOTO, item]})
    assert templates(content) == {"items[1].caption": "{{ a }}"}
    assert parse_mode_of(content, "items[1].caption") == "MarkdownV2"
    media: Any = params(with_rendered(content, {"items[1].caption": "b"}))["media"]
    assert media[1]["caption"] == "b"


def test_length_and_markup_of_a_template_are_judged_by_what_it_renders_to() -> None:
    source = "{# " + "x" * 5000 + " #}<b>{{ name }}"
    content = parse({"kind": "text", "text": source, "parse_mode": "HTML"})
    assert check(content) == []
    assert check_rendered(with_rendered(content, {"text": "<b>Ann</b> {{ is a brace }}"})) == []
    for bad in ("<b>Ann", "<b>{{ name }}", "x" * 4097, " "):
        [problem] = check_rendered(with_rendered(content, {"text": bad}))
        assert problem.field == "text"


def test_a_button_with_a_template_is_judged_by_what_it_renders_to() -> None:
    content = parse(with_button(url="{{ link }}"))
    assert check(content) == []
    [problem] = check_rendered(with_rendered(content, {"keyboard[0][0].url": "nodots"}))
    assert problem.field == "keyboard[0][0].url"


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELD_NAMES = st.sampled_from(
    sorted(
        {name for kind in KINDS.values() for name in kind.__struct_fields__}
        | {"kind", "file_id", "url", "path"}
    )
)
HOSTILE = st.dictionaries(FIELD_NAMES, JSON, max_size=6)
MEDIA = st.one_of(TEXT, *(st.fixed_dictionaries({name: TEXT}) for name in ("file_id", "url", "path")))
BUTTONS = st.builds(
    lambda text, name, value: {"text": text, name: value}, TEXT, st.sampled_from(["url", "copy_text"]), TEXT
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "silent": st.booleans(),
        "topic_id": NUMBERS,
        "keyboard": st.lists(st.lists(BUTTONS, max_size=2), max_size=2),
        "parse_mode": st.sampled_from([None, "HTML", "MarkdownV2"]),
        "entities": st.lists(
            st.fixed_dictionaries(
                {"type": TEXT, "offset": NUMBERS, "length": NUMBERS}, optional={"url": TEXT}
            ),
            max_size=2,
        ),
    },
)
ITEMS = st.builds(
    lambda kind, media: {"kind": kind, "media": media}, st.sampled_from(["photo", "audio"]), MEDIA
)
CONTENT = st.one_of(
    st.builds(lambda text, options: {"kind": "text", "text": text, **options}, TEXT, OPTIONS),
    st.builds(
        lambda kind, media, caption, options: {"kind": kind, kind: media, "caption": caption, **options},
        st.sampled_from(["photo", "video", "document", "voice"]),
        MEDIA,
        st.none() | TEXT,
        OPTIONS,
    ),
    st.builds(lambda items: {"kind": "album", "items": items}, st.lists(ITEMS, max_size=4)),
    st.builds(
        lambda a, b: {"kind": "location", "latitude": a, "longitude": b}, NUMBERS, st.floats(-180, 180)
    ),
)


@given(CONTENT)
@settings(max_examples=400, deadline=None)
def test_content_survives_json_and_can_always_be_checked(data: dict[str, Any]) -> None:
    content = parse(data)
    plain = to_json(content)
    assert parse(plain) == content
    assert parse(json.loads(json.dumps(plain))) == content
    check(content, paid=True)
    check_rendered(content)
    json.dumps(params(content))
    assert with_rendered(content, templates(content)) == content


@given(st.sampled_from(sorted(KINDS)), HOSTILE)
@settings(max_examples=600, deadline=None)
def test_hostile_data_is_refused_and_nothing_else(kind: str, data: dict[str, Any]) -> None:
    for candidate in (data, {**data, "kind": kind}, {**data, "kind": kind, kind: data}):
        content, problems = parsed_or_problems(candidate)
        assert all(problem.field and problem.remedy for problem in problems)
        if content is None:
            assert problems
        else:
            check(content)
