"""The table of errors, checked against what Telegram's server says and against how others understand it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiogram.exceptions
import pytest
import telegram.error
from aiogram.client.bot import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.methods import SendMessage
from hypothesis import given
from hypothesis import strategies as st
from telegram.request import BaseRequest

from longwave.channels.telegram.errors import TABLE, Verdict, classify, find
from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, SenderBroken, Throttled, Unknown

# What a Bot API server answers to a send: (status, description) → outcome. Texts are facts, read in
# telegram-bot-api's Client.cpp and TDLib; those in capitals come from Telegram's own servers as they are.
GONE = [
    (403, "Forbidden: bot was blocked by the user"),
    (403, "Forbidden: user is deactivated"),
    (403, "Forbidden: bot can't initiate conversation with a user"),
    (403, "Forbidden: bot can't send messages to bots"),
    (403, "Forbidden: the bot can't send messages to the bot"),
    (403, "Forbidden: bot was kicked from the group chat"),
    (403, "Forbidden: bot was kicked from the supergroup chat"),
    (403, "Forbidden: bot was kicked from the channel chat"),
    (403, "Forbidden: bot is not a member of the group chat"),
    (403, "Forbidden: bot is not a member of the supergroup chat"),
    (403, "Forbidden: bot is not a member of the channel chat"),
    (403, "Forbidden: the group chat was deleted"),
    (400, "Bad Request: USER_DELETED"),
    (400, "Bad Request: USER_IS_BLOCKED"),
    (400, "Bad Request: INPUT_USER_DEACTIVATED"),
    (400, "Bad Request: chat not found"),
    (400, "Bad Request: private chat not found"),
    (400, "Bad Request: PEER_ID_INVALID"),
    (400, "Bad Request: CHAT_ID_INVALID"),
    (400, "Bad Request: CHANNEL_INVALID"),
    (400, "Bad Request: CHANNEL_PRIVATE"),
    (400, "Bad Request: CHANNEL_PUBLIC_GROUP_NA"),
    (400, "Bad Request: chat is deactivated"),
]
RIGHTS = [
    (400, "Bad Request: not enough rights to send text messages to the chat"),
    (400, "Bad Request: not enough rights to send photos to the chat"),
    (400, "Bad Request: have no rights to send a message"),
    (400, "Bad Request: have no write access to the chat"),
    (400, "Bad Request: need administrator rights in the channel chat"),
    (403, "Forbidden: not enough rights to send polls to the chat"),
    (400, "Bad Request: CHAT_WRITE_FORBIDDEN"),
    (400, "Bad Request: CHAT_SEND_PLAIN_FORBIDDEN"),
    (400, "Bad Request: CHAT_SEND_PHOTOS_FORBIDDEN"),
    (400, "Bad Request: CHAT_GUEST_SEND_FORBIDDEN"),
    (400, "Bad Request: CHAT_ADMIN_REQUIRED"),
    (400, "Bad Request: CHAT_RESTRICTED"),
    (400, "Bad Request: USER_RESTRICTED"),
    (400, "Bad Request: USER_BANNED_IN_CHANNEL"),
    (400, "Bad Request: VOICE_MESSAGES_FORBIDDEN"),
    (400, "Bad Request: user restricted receiving of voice note messages"),
    (400, "Bad Request: USER_PRIVACY_RESTRICTED"),
    (400, "Bad Request: PRIVACY_PREMIUM_REQUIRED"),
    (400, "Bad Request: ALLOW_PAYMENT_REQUIRED_50"),
    (400, "Bad Request: TOPIC_CLOSED"),
    (400, "Bad Request: TOPIC_DELETED"),
    (400, "Bad Request: message thread not found"),
    (400, "Bad Request: the chat is not a forum"),
    (400, "Bad Request: wrong direct messages topic identifier specified"),
    (400, "Bad Request: polls can't be sent to the private chat"),
    (400, "Bad Request: can't access the chat"),
    (400, "Bad Request: user not found"),
    (400, "Bad Request: group chat was upgraded to a supergroup chat"),
]
CONTENT = [
    (400, 'Bad Request: can\'t parse entities: Unsupported start tag "foo" at byte offset 3'),
    (400, "Bad Request: can't parse entities: Character '.' is reserved and must be escaped"),
    (400, "Bad Request: can't parse reply keyboard markup JSON object"),
    (400, "Bad Request: unsupported parse_mode"),
    (400, "Bad Request: message text is empty"),
    (400, "Bad Request: text must be non-empty"),
    (400, "Bad Request: message is too long"),
    (400, "Bad Request: message caption is too long"),
    (400, "Bad Request: reply markup is too long"),
    (400, "Bad Request: wrong file identifier/HTTP URL specified"),
    (400, "Bad Request: wrong remote file identifier specified: can't unserialize it. Wrong last symbol"),
    (400, "Bad Request: wrong file_id or the file is temporarily unavailable"),
    (400, "Bad Request: wrong HTTP URL specified"),
    (400, "Bad Request: failed to get HTTP URL content"),
    (400, "Bad Request: wrong type of the web page content"),
    (400, "Bad Request: can't upload file by URL"),
    (400, "Bad Request: can't use the media of the specified type in the album"),
    (400, "Bad Request: too many messages to send as an album"),
    (400, "Bad Request: photo has unsupported extension. Use one of .jpg, .jpeg, .gif, .png, .tif or .bmp"),
    (400, "Bad Request: PHOTO_INVALID_DIMENSIONS"),
    (400, "Bad Request: IMAGE_PROCESS_FAILED"),
    (400, "Bad Request: there is no photo in the request"),
    (400, "Bad Request: file is too big"),
    (400, "Bad Request: message to copy not found"),
    (400, "Bad Request: message to forward not found"),
    (400, "Bad Request: message can't be copied"),
    (400, "Bad Request: message can't be forwarded"),
    (400, "Bad Request: message has protected content and can't be forwarded"),
    (400, "Bad Request: CHAT_FORWARDS_RESTRICTED"),
    (400, "Bad Request: can't access the chat to copy message from"),
    (400, "Bad Request: chat to forward messages from not found"),
    (400, "Bad Request: message identifiers must be in a strictly increasing order"),
    (400, "Bad Request: BUTTON_DATA_INVALID"),
    (400, "Bad Request: BUTTON_URL_INVALID"),
    (400, "Bad Request: BUTTON_TYPE_INVALID"),
    (400, "Bad Request: REPLY_MARKUP_INVALID"),
    (400, "Bad Request: inline keyboard button URL 'x' is invalid: Wrong HTTP URL"),
    (400, "Bad Request: text buttons are unallowed in the inline keyboard"),
    (400, "Bad Request: ENTITY_BOUNDS_INVALID"),
    (400, "Bad Request: MEDIA_CAPTION_TOO_LONG"),
    (400, "Bad Request: MESSAGE_EMPTY"),
    (400, "Bad Request: EFFECT_ID_INVALID"),
    (400, "Bad Request: BALANCE_TOO_LOW"),
    (400, "Bad Request: poll must have at least 2 option"),
    (400, "Bad Request: invalid correct option identifier specified"),
    (400, "Bad Request: chat_id is empty"),
    (400, "Bad Request: latitude is empty"),
    (400, "Bad Request: message is not modified: specified new message content and reply markup are exactly"),
    (413, "Request Entity Too Large"),
]
PASSING = [
    (500, "Internal Server Error: restart"),
    (500, "Internal Server Error: receive invalid message identifier as sent message identifier"),
    (500, "Request aborted"),
    (500, "Internal Server Error: Request aborted"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (400, "Bad Request: RPC_CALL_FAIL"),
    (400, "Bad Request: message send failed"),
    (
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    ),
]
SENDER = [
    (401, "Unauthorized"),
    (401, "Unauthorized: invalid api-id/api-hash"),
    (404, "Not Found"),
    (404, "Not Found: method not found"),
    (400, "Logged out"),
    (400, "Bad Request: FROZEN_METHOD_INVALID"),
]
KNOWN: list[tuple[int, str, type]] = [
    *((status, text, Gone) for status, text in GONE),
    *((status, text, Rejected) for status, text in RIGHTS + CONTENT),
    *((status, text, Retry) for status, text in PASSING),
    *((status, text, SenderBroken) for status, text in SENDER),
]


def answer(description: object, **parameters: object) -> dict[str, Any]:
    return {"ok": False, "description": description, "parameters": parameters}


@pytest.mark.parametrize(("status", "text", "expected"), KNOWN, ids=[text[:60] for _, text, _ in KNOWN])
def test_a_known_text_has_its_row_and_its_outcome(status: int, text: str, expected: type):
    assert find(text) is not None or status == 404
    outcome = classify(status, answer(text))
    assert type(outcome) is expected
    assert text[:40] in outcome.reason


@pytest.mark.parametrize(("status", "text"), RIGHTS)
def test_a_chats_own_rules_are_kept_apart_from_bad_content(status: int, text: str):
    row = find(text)
    assert row is not None
    assert row.verdict is Verdict.RIGHTS


@pytest.mark.parametrize(("status", "text"), CONTENT)
def test_bad_content_is_no_fault_of_the_chat(status: int, text: str):
    row = find(text)
    assert row is not None
    assert row.verdict is Verdict.CONTENT


@pytest.mark.parametrize("row", TABLE, ids=[row.text for row in TABLE])
def test_every_row_can_be_reached(row: Any):
    assert row.text == row.text.lower()
    assert find(f"Bad Request: {row.text}") is row
    assert row.meaning
    assert row.source in "CTDR"


def test_the_text_decides_whatever_the_number_says():
    for status in (400, 403, 406):
        assert type(classify(status, answer("bot was blocked by the user"))) is Gone
        assert type(classify(status, answer("can't parse entities: no"))) is Rejected


def test_a_flood_says_how_long_to_wait():
    assert classify(429, answer("Too Many Requests: retry after 7", retry_after=7)) == Throttled(7.0)
    assert classify(429, answer("Too Many Requests: retry after 35")) == Throttled(35.0)
    assert classify(429, answer("Too Many Requests")) == Throttled(5.0)
    assert classify(400, answer("Bad Request: slow down", retry_after=3)) == Throttled(3.0)
    assert classify(429, answer("", retry_after=10**9)) == Throttled(86_400.0)


def test_an_upgraded_group_is_tried_again_at_its_new_address():
    text = "Bad Request: group chat was upgraded to a supergroup chat"
    assert classify(400, answer(text, migrate_to_chat_id=-1001)) == Retry(text, address="-1001")


def test_a_lost_chat_may_be_the_source_of_a_copy():
    body = answer("Bad Request: chat not found")
    assert type(classify(400, body, from_chat=True)) is Rejected
    assert type(classify(400, body, from_chat=False)) is Gone
    assert type(classify(403, answer("Forbidden: bot was blocked by the user"), from_chat=True)) is Gone


def test_a_gateway_that_gave_up_waiting_leaves_the_outcome_open():
    assert type(classify(504, answer("Gateway Timeout"))) is Unknown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
BODIES = st.dictionaries(st.text(max_size=5), JSON, max_size=3) | st.fixed_dictionaries(
    {
        "description": JSON,
        "parameters": JSON | st.fixed_dictionaries({"retry_after": JSON, "migrate_to_chat_id": JSON}),
    }
)


@given(status=st.integers(-1, 1000), body=BODIES)
def test_no_answer_makes_it_raise(status: int, body: Mapping[str, Any]):
    outcome = classify(status, body)
    assert isinstance(outcome, Outcome)
    if isinstance(outcome, Throttled):
        assert 0 < outcome.retry_after <= 86_400
    elif not isinstance(outcome, Retry | Unknown | SenderBroken):
        assert outcome.reason


FATAL = [row.text for row in TABLE if row.verdict in (Verdict.GONE, Verdict.SENDER)]


@given(status=st.sampled_from([400, 403, 406, 410, 418, 451]), text=st.text())
def test_an_unknown_text_never_costs_a_contact_or_a_sender(status: int, text: str):
    if not any(word in text.lower() for word in FATAL):
        assert type(classify(status, answer(text))) not in (Gone, SenderBroken)


# How the two largest client libraries understand the same answers.

AIOGRAM: dict[type[Exception], tuple[type, ...]] = {
    aiogram.exceptions.TelegramRetryAfter: (Throttled,),
    aiogram.exceptions.TelegramMigrateToChat: (Retry,),
    aiogram.exceptions.TelegramBadRequest: (Gone, Rejected, Retry, SenderBroken),
    aiogram.exceptions.TelegramNotFound: (SenderBroken,),
    aiogram.exceptions.TelegramConflictError: (Retry,),
    aiogram.exceptions.TelegramUnauthorizedError: (SenderBroken,),
    aiogram.exceptions.TelegramForbiddenError: (Gone, Rejected),
    aiogram.exceptions.TelegramServerError: (Retry, Unknown),
    aiogram.exceptions.RestartingTelegram: (Retry,),
    aiogram.exceptions.TelegramEntityTooLarge: (Rejected,),
}
# These are not answers of the Bot API: nothing of it reaches `classify`.
AIOGRAM_OTHERS = {"TelegramNetworkError"}
PTB: dict[type[Exception], tuple[type, ...]] = {
    telegram.error.RetryAfter: (Throttled,),
    telegram.error.ChatMigrated: (Retry,),
    telegram.error.Forbidden: (Gone, Rejected),
    telegram.error.InvalidToken: (SenderBroken,),
    telegram.error.BadRequest: (Gone, Rejected, Retry, SenderBroken),
    telegram.error.Conflict: (Retry,),
    telegram.error.NetworkError: (Retry, Unknown, Rejected),
}
PTB_OTHERS = {"TimedOut", "EndPointNotFound", "PassportDecryptionError"}

ANSWERS: list[tuple[int, dict[str, Any]]] = [
    *((status, answer(text)) for status, text, _ in KNOWN),
    (429, answer("Too Many Requests: retry after 7", retry_after=7)),
    (400, answer("Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1001)),
    (504, answer("Gateway Timeout")),
]


def aiogram_error(status: int, body: dict[str, Any]) -> Exception:
    session = AiohttpSession()
    bot = Bot("123456:abcdefghijklmnopqrstuvwxyz", session=session)
    with pytest.raises(aiogram.exceptions.AiogramError) as caught:
        session.check_response(bot, SendMessage(chat_id=1, text="x"), status, json.dumps(body))
    return caught.value


class Answering(BaseRequest):
    """python-telegram-bot's own mapping, fed with one answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self._answer = status, json.dumps(body).encode()

    read_timeout = None

    async def initialize(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def do_request(self, *args: object, **options: object) -> tuple[int, bytes]:
        return self._answer


def ptb_error(status: int, body: dict[str, Any]) -> Exception:
    with pytest.raises(telegram.error.TelegramError) as caught:
        asyncio.run(Answering(status, body).post("https://example.org"))
    return caught.value


@pytest.mark.parametrize(("status", "body"), ANSWERS, ids=[body["description"][:60] for _, body in ANSWERS])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_aiogram_and_python_telegram_bot_understand_the_same(status: int, body: dict[str, Any]):
    outcome = type(classify(status, body))
    assert outcome in AIOGRAM[type(aiogram_error(status, body))]
    assert outcome in PTB[type(ptb_error(status, body))]


def test_every_error_the_libraries_tell_apart_is_accounted_for():
    base = aiogram.exceptions.TelegramAPIError
    theirs = {c for c in vars(aiogram.exceptions).values() if isinstance(c, type) and issubclass(c, base)}
    assert {c.__name__ for c in theirs - AIOGRAM.keys() - {base}} == AIOGRAM_OTHERS
    ptb_base = telegram.error.TelegramError
    ptb = {c for c in vars(telegram.error).values() if isinstance(c, type) and issubclass(c, ptb_base)}
    assert {c.__name__ for c in ptb - PTB.keys() - {ptb_base}} == PTB_OTHERS
