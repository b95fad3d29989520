import json
from typing import Any

import pytest

from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.fake_telegram.population import Population, State, read_population
from tests.unit.testing.bot import BOT, Call


def keyboard(**button: Any) -> dict[str, Any]:
    return {"inline_keyboard": [[{"text": "go", **button}]]}


def text(**params: Any) -> tuple[str, dict[str, Any]]:
    return "sendMessage", {"chat_id": 1, "text": "hi", **params}


PHOTO = "https://example.com/a.jpg"
UNALLOWED = "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
NOT_FOUND_ID = "wrong file identifier/HTTP URL specified"

REFUSED: list[tuple[tuple[str, dict[str, Any]], str]] = [
    (("sendMessage", {"text": "hi"}), "chat_id is empty"),
    (text(chat_id=""), "chat_id is empty"),
    (text(chat_id="somebody"), "chat not found"),
    (text(chat_id=0), "chat not found"),
    (text(text=""), "message text is empty"),
    (text(text="  \n "), "text must be non-empty"),
    (text(text="<b></b>", parse_mode="HTML"), "text must be non-empty"),
    (text(text="x" * 4097), "message is too long"),
    (text(text="🙂" * 2049), "message is too long"),
    (text(text="x" * 40_000), "text is too long"),
    (text(text="<b>" + "x" * 4097 + "</b>", parse_mode="HTML"), "message is too long"),
    (text(text="a.", parse_mode="MarkdownV2"), "can't parse entities: Character '.' is reserved"),
    (text(text="<b>a", parse_mode="HTML"), "can't parse entities: "),
    (text(parse_mode="RTF"), "unsupported parse_mode"),
    (text(entities=[{"offset": 0, "length": 1}]), "can't parse MessageEntity: Can't find field \"type\""),
    (text(reply_markup="{"), "can't parse reply keyboard markup JSON object"),
    (text(reply_markup=[]), "object expected as reply markup"),
    (
        text(reply_markup={"inline_keyboard": [1]}),
        'field "inline_keyboard" of the InlineKeyboardMarkup must be',
    ),
    (text(reply_markup=keyboard()), UNALLOWED),
    (text(reply_markup=keyboard(callback_data="x" * 65)), "BUTTON_DATA_INVALID"),
    (text(reply_markup=keyboard(callback_data="ж" * 33)), "BUTTON_DATA_INVALID"),
    (text(reply_markup=keyboard(text="", url=PHOTO)), "inline keyboard button text must be non-empty"),
    (
        text(reply_markup=keyboard(url="nowhere")),
        "inline keyboard button URL 'nowhere' is invalid: Wrong HTTP URL",
    ),
    (
        text(reply_markup=keyboard(url="ftp://a.b")),
        "inline keyboard button URL 'ftp://a.b' is invalid: Only HTTP",
    ),
    (
        text(reply_markup=keyboard(web_app={"url": "http://a.b"})),
        "inline keyboard button Web App URL 'http://a.b'",
    ),
    (text(reply_markup=keyboard(copy_text={"text": "x" * 257})), "BUTTON_COPY_TEXT_INVALID"),
    (
        text(reply_markup={"inline_keyboard": [[{"text": "a", "url": PHOTO}] * 101]}),
        "reply markup is too long",
    ),
    (text(reply_parameters={"message_id": 9}), "message to be replied not found"),
    (text(link_preview_options=3), "object expected as link preview options"),
    (("sendPhoto", {"chat_id": 1}), "there is no photo in the request"),
    (("sendVideoNote", {"chat_id": 1}), "there is no video note in the request"),
    (("sendPhoto", {"chat_id": 1, "photo": "AgACAgIAAxkBAAIB"}), NOT_FOUND_ID),
    (("sendPhoto", {"chat_id": 1, "photo": "ftp://example.com/a.jpg"}), "wrong HTTP URL specified"),
    (("sendPhoto", {"chat_id": 1, "photo": "attach://x"}), "there is no photo in the request"),
    (("sendPhoto", {"chat_id": 1, "photo": PHOTO, "caption": "x" * 1025}), "message caption is too long"),
    (("sendMediaGroup", {"chat_id": 1}), 'parameter "media" is required'),
    (("sendMediaGroup", {"chat_id": 1, "media": []}), "there are no messages to send"),
    (("sendMediaGroup", {"chat_id": 1, "media": [{}]}), "there must be from 2 to 10 messages in an album"),
    (("sendMediaGroup", {"chat_id": 1, "media": [{}] * 11}), "too many messages to send as an album"),
    (
        (
            "sendMediaGroup",
            {"chat_id": 1, "media": [{"type": kind, "media": PHOTO} for kind in ("photo", "audio")]},
        ),
        "audio can't be mixed with other media types",
    ),
    (
        ("sendMediaGroup", {"chat_id": 1, "media": [{"type": "animation", "media": PHOTO}] * 2}),
        "can't parse InputMedia: type \"animation\" can't be used in sendMediaGroup",
    ),
    (
        ("sendPoll", {"chat_id": 1, "question": "q" * 301, "options": ["a", "b"]}),
        "poll question length must not exceed",
    ),
    (
        ("sendPoll", {"chat_id": 1, "question": "q", "options": []}),
        "poll must have at least one answer option",
    ),
    (
        ("sendPoll", {"chat_id": 1, "question": "q", "options": ["a"] * 13}),
        "poll can't have more than 12 options",
    ),
    (
        ("sendPoll", {"chat_id": 1, "question": "q", "options": ["a" * 101]}),
        "poll options length must not exceed 100",
    ),
    (
        ("sendPoll", {"chat_id": 1, "question": "q", "options": ["a"], "type": "quiz"}),
        "correct quiz option list must be",
    ),
    (
        (
            "sendPoll",
            {"chat_id": 1, "question": "q", "options": ["a"], "type": "quiz", "correct_option_id": 1},
        ),
        "wrong quiz correct_option_id",
    ),
    (("sendLocation", {"chat_id": 1, "latitude": 1}), "longitude is empty"),
    (("sendContact", {"chat_id": 1, "first_name": "A"}), 'parameter "phone_number" is required'),
    (("sendDice", {"chat_id": 1, "emoji": "🐈"}), "EMOTICON_INVALID"),
    (("sendChatAction", {"chat_id": 1, "action": "sleeping"}), "wrong parameter action in request"),
    (("copyMessage", {"chat_id": 1, "message_id": 1}), 'parameter "from_chat_id" is required'),
    (("copyMessage", {"chat_id": 1, "from_chat_id": 1, "message_id": 9}), "message to copy not found"),
    (("forwardMessage", {"chat_id": 1, "from_chat_id": 1, "message_id": 9}), "message to forward not found"),
    (("copyMessages", {"chat_id": 1, "from_chat_id": 1}), "message identifiers are not specified"),
    (
        ("copyMessages", {"chat_id": 1, "from_chat_id": 1, "message_ids": list(range(1, 102))}),
        "too many message identifiers specified",
    ),
    (("editMessageText", {"chat_id": 1, "message_id": 9, "text": "x"}), "message to edit not found"),
    (("editMessageText", {"text": "x"}), "message identifier is not specified"),
    (("deleteMessage", {"chat_id": 1, "message_id": 9}), "message to delete not found"),
    (("deleteMessage", {"chat_id": 1}), "message identifier is not specified"),
    (("pinChatMessage", {"chat_id": 1, "message_id": 9}), "message to pin not found"),
    (("getFile", {"file_id": "nothing"}), "invalid file_id"),
    (("answerCallbackQuery", {"callback_query_id": "1"}), "query is too old and response timeout expired"),
    (("setMyCommands", {"commands": [{"command": "Two words", "description": "x"}]}), "BOT_COMMAND_INVALID"),
    (("setWebhook", {"url": "http://example.com"}), "bad webhook: An HTTPS URL must be provided for webhook"),
]


@pytest.mark.parametrize(("request_", "reason"), REFUSED, ids=[f"{one[0]}: {why}" for one, why in REFUSED])
def test_a_bad_request_is_refused_in_telegrams_words(
    telegram: FakeTelegram, call: Call, request_: tuple[str, dict[str, Any]], reason: str
) -> None:
    method, params = request_
    answer = call(method, **params)
    assert answer["error_code"] == 400
    assert answer["description"].startswith(f"Bad Request: {reason}")
    assert telegram.stats()["accepted"] == 0


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    text(text="x" * 4096),
    text(text="🙂" * 2048),
    text(text="<b>" + "x" * 4096 + "</b>", parse_mode="html"),
    text(chat_id="1"),
    text(chat_id="@channel"),
    text(chat_id=-100_1234567890),
    text(reply_markup=keyboard(callback_data="ж" * 32)),
    text(reply_markup=json.dumps(keyboard(url="tg://user?id=1"))),
    text(reply_markup={"keyboard": [["a"], [{"text": "b"}]]}),
    text(reply_parameters={"message_id": 9, "allow_sending_without_reply": True}),
    ("sendPhoto", {"chat_id": 1, "photo": PHOTO, "caption": "x" * 1024}),
    ("sendPoll", {"chat_id": 1, "question": "q" * 300, "options": ["a" * 100, {"text": "b"}]}),
    ("sendVenue", {"chat_id": 1, "latitude": 1.5, "longitude": -2, "title": "here", "address": "there"}),
    ("sendChatAction", {"chat_id": 1, "action": "typing"}),
]


@pytest.mark.parametrize(("method", "params"), ACCEPTED)
def test_what_is_just_within_the_limits_is_accepted(call: Call, method: str, params: dict[str, Any]) -> None:
    assert call(method, **params)["ok"]


STATES = [
    (1, "blocked", 403, "Forbidden: bot was blocked by the user"),
    (1, "deactivated", 403, "Forbidden: user is deactivated"),
    (1, "not_started", 403, "Forbidden: bot can't initiate conversation with a user"),
    (1, "not_found", 400, "Bad Request: chat not found"),
    (-5, "kicked", 403, "Forbidden: bot was kicked from the group chat"),
    (-1_000_000_000_005, "kicked", 403, "Forbidden: bot was kicked from the supergroup chat"),
    (-5, "left", 403, "Forbidden: bot is not a member of the group chat"),
    (-5, "deleted", 403, "Forbidden: the group chat was deleted"),
]


@pytest.mark.parametrize(("chat", "state", "status", "description"), STATES)
def test_a_chat_that_takes_no_messages_says_why(
    telegram: FakeTelegram, call: Call, chat: int, state: str, status: int, description: str
) -> None:
    telegram.users(chats={chat: state})
    answer = call("sendMessage", chat_id=chat, text="hi")
    assert (answer["error_code"], answer["description"]) == (status, description)
    telegram.users(chats={chat: "ok"})
    assert call("sendMessage", chat_id=chat, text="hi")["ok"]


def test_an_upgraded_group_tells_its_new_id(telegram: FakeTelegram, call: Call) -> None:
    telegram.users(chats={-5: {"upgraded_to": -1005}})
    answer = call("sendMessage", chat_id=-5, text="hi")
    assert answer["description"] == "Bad Request: group chat was upgraded to a supergroup chat"
    assert answer["parameters"] == {"migrate_to_chat_id": -1005}


def test_shares_of_the_population_are_what_was_asked_for_and_stay_the_same(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.users(blocked=0.02, deactivated=0.01)
    known = telegram.population()
    states = [known.of(chat) for chat in range(1, 50_001)]
    assert 900 <= states.count(State.BLOCKED) <= 1100
    assert 400 <= states.count(State.DEACTIVATED) <= 600
    blocked = states.index(State.BLOCKED) + 1
    assert call("sendMessage", chat_id=blocked, text="hi")["error_code"] == 403
    assert known.of(-blocked) is State.OK


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"blokked": 0.1}, "blokked is not known here: give blocked"),
        ({"blocked": 2}, "blocked = 2: give a share from 0 to 1"),
        ({"blocked": 0.6, "not_found": 0.6}, "the shares add up to 1.2"),
        ({"chats": {"1": "asleep"}}, "chats.1 = 'asleep': give one of ok"),
    ],
)
def test_a_population_that_makes_no_sense_is_refused(data: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_population(data, Population())


@pytest.mark.parametrize(
    "path", ["/bot1/getMe", "/bot1:short/getMe", "/bot0:" + "A" * 35 + "/getMe", "/nothing", "/bot"]
)
def test_a_malformed_token_or_path_is_not_found(connection: Any, path: str) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 404
    assert json.loads(response.read()) == {"ok": False, "error_code": 404, "description": "Not Found"}


def test_an_unknown_method_is_not_found_and_the_case_of_a_known_one_does_not_matter(call: Call) -> None:
    assert call("sendEverything")["description"] == "Not Found: method not found"
    assert call("GETme")["result"]["id"] == BOT


def test_an_edit_that_changes_nothing_is_refused_and_one_of_the_keyboard_is_not(call: Call) -> None:
    call("sendMessage", chat_id=1, text="hi", reply_markup=keyboard(callback_data="a"))
    same = {"chat_id": 1, "message_id": 1, "text": "hi"}
    assert call("editMessageText", **same, reply_markup=keyboard(callback_data="a"))["description"] == (
        "Bad Request: message is not modified: specified new message content and reply markup are exactly "
        "the same as a current content and reply markup of the message"
    )
    assert "reply_markup" not in call("editMessageText", **same)["result"]
    assert call("editMessageReplyMarkup", chat_id=1, message_id=1)["error_code"] == 400


def test_an_edit_must_fit_the_kind_of_message(call: Call) -> None:
    call("sendMessage", chat_id=1, text="hi")
    call("sendPhoto", chat_id=1, photo=PHOTO, caption="a")
    caption = call("editMessageCaption", chat_id=1, message_id=1, caption="b")
    assert caption["description"] == "Bad Request: there is no caption in the message to edit"
    words = call("editMessageText", chat_id=1, message_id=2, text="b")
    assert words["description"] == "Bad Request: there is no text in the message to edit"
    edited = call("editMessageCaption", chat_id=1, message_id=2, caption="b")["result"]
    assert (edited["caption"], edited["message_id"]) == ("b", 2)
    assert edited["photo"]


def test_a_message_can_be_deleted_for_48_hours(telegram: FakeTelegram, call: Call) -> None:
    call("sendMessage", chat_id=1, text="hi")
    telegram.age(48 * 3600 + 2)
    late = call("deleteMessage", chat_id=1, message_id=1)
    assert late["description"] == "Bad Request: message can't be deleted for everyone"
    telegram.age(-60)
    assert call("deleteMessage", chat_id=1, message_id=1)["result"] is True
    assert call("deleteMessage", chat_id=1, message_id=1)["error_code"] == 400


def test_a_message_is_only_found_in_its_own_chat(call: Call) -> None:
    call("sendMessage", chat_id=1, text="hi")
    assert call("deleteMessage", chat_id=2, message_id=1)["error_code"] == 400
    assert call("deleteMessages", chat_id=2, message_ids=[1, 7])["ok"]
    assert call("copyMessage", chat_id=2, from_chat_id=1, message_id=1)["result"] == {"message_id": 2}


def test_a_copy_has_the_content_but_not_the_keyboard_and_may_have_another_caption(call: Call) -> None:
    call("sendPhoto", chat_id=1, photo=PHOTO, caption="a", reply_markup=keyboard(callback_data="a"))
    call("copyMessage", chat_id=2, from_chat_id=1, message_id=1, caption="b")
    forwarded = call("forwardMessage", chat_id=3, from_chat_id=2, message_id=2)["result"]
    assert forwarded["caption"] == "b"
    assert "reply_markup" not in forwarded
    assert forwarded["forward_origin"]["sender_user"]["id"] == BOT


def test_protected_content_cannot_be_passed_on(call: Call) -> None:
    call("sendMessage", chat_id=1, text="hi", protect_content=True)
    params = {"chat_id": 2, "from_chat_id": 1, "message_id": 1}
    assert "can't be copied" in call("copyMessage", **params)["description"]
    assert "protected content" in call("forwardMessage", **params)["description"]


def test_several_messages_are_copied_in_order_and_missing_ones_left_out(
    telegram: FakeTelegram, call: Call
) -> None:
    for word in ("a", "b"):
        call("sendMessage", chat_id=1, text=word)
    copied = call("copyMessages", chat_id=2, from_chat_id=1, message_ids=[1, 2, 50])
    assert copied["result"] == [{"message_id": 3}, {"message_id": 4}]
    assert telegram.log(chat_id=2)[0]["weight"] == 2
    assert telegram.twice() == [1]


def test_a_file_id_belongs_to_its_bot_and_its_kind(call: Call) -> None:
    sizes = call("sendPhoto", chat_id=1, photo=PHOTO)["result"]["photo"]
    for size in sizes:
        assert call("sendPhoto", chat_id=1, photo=size["file_id"])["result"]["photo"] == sizes
    largest = sizes[-1]["file_id"]
    assert call("sendPhoto", token="9:" + "B" * 35, chat_id=1, photo=largest)["error_code"] == 400
    wrong = call("sendDocument", chat_id=1, document=largest)
    assert wrong["description"] == "Bad Request: can't use file of type Photo as Document"


def test_after_log_out_nothing_works(call: Call) -> None:
    assert call("logOut")["result"] is True
    assert call("getMe")["description"] == "Logged out"
