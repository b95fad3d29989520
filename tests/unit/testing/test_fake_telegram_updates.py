import json
import threading
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from longwave.testing.fake_telegram import FakeTelegram
from longwave.testing.fake_telegram.updates import UpdateQueue
from tests.unit.testing.bot import BOT, TOKEN, Call


def ids(call: Call, **params: Any) -> list[int]:
    return [update["update_id"] for update in call("getUpdates", **params)["result"]]


def say(telegram: FakeTelegram, text: str, chat: int = 5) -> int | None:
    return telegram.push_update({"message": {"text": text, "chat": {"id": chat}}}, bot=BOT)


def test_updates_come_again_until_an_offset_confirms_them(telegram: FakeTelegram, call: Call) -> None:
    assert [say(telegram, text) for text in "abc"] == [1, 2, 3]
    assert ids(call) == [1, 2, 3]
    assert ids(call, limit=2) == [1, 2]
    assert ids(call, offset=3) == [3]
    assert ids(call) == [3]
    assert ids(call, offset=4) == []


def test_a_negative_offset_keeps_only_the_last(telegram: FakeTelegram, call: Call) -> None:
    for text in "abc":
        say(telegram, text)
    assert ids(call, offset=-1) == [3]
    assert ids(call) == [3]


def test_an_update_is_completed_with_what_every_update_has(telegram: FakeTelegram, call: Call) -> None:
    say(telegram, "/start now")
    message = call("getUpdates")["result"][0]["message"]
    assert message["from"] == {"id": 5, "is_bot": False, "first_name": "User 5"}
    assert message["chat"]["type"] == "private"
    assert message["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]
    assert call("copyMessage", chat_id=6, from_chat_id=5, message_id=message["message_id"])["ok"]


def test_a_callback_can_be_answered_and_carries_its_message(telegram: FakeTelegram, call: Call) -> None:
    sent = call("sendMessage", chat_id=5, text="hi")["result"]
    under = {"chat": {"id": 5}, "message_id": sent["message_id"]}
    telegram.push_update({"callback_query": {"data": "x", "message": under}}, bot=BOT)
    query = call("getUpdates")["result"][0]["callback_query"]
    assert (query["message"]["text"], query["from"]["id"]) == ("hi", 5)
    assert call("answerCallbackQuery", callback_query_id=query["id"])["result"] is True


def test_a_waiting_poll_is_answered_by_the_next_update(telegram: FakeTelegram, call: Call) -> None:
    call("getMe")
    timer = threading.Timer(
        0.05, lambda: telegram.push_update({"message": {"text": "hi", "chat": {"id": 1}}})
    )
    timer.start()
    assert ids(call, timeout=10) == [1]
    timer.join()


def test_a_second_poll_ends_the_first(telegram: FakeTelegram, call: Call) -> None:
    parts = urlsplit(telegram.base_url)
    first = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    first.request("GET", f"/bot{TOKEN}/getUpdates?timeout=10")
    call("getMe")
    say(telegram, "hi", 5)
    assert len(json.loads(first.getresponse().read())["result"]) == 1
    first.request("GET", f"/bot{TOKEN}/getUpdates?timeout=10&offset=2")
    telegram.stats()
    assert ids(call, offset=2) == []
    answer = json.loads(first.getresponse().read())
    assert answer["error_code"] == 409
    assert answer["description"].startswith("Conflict: terminated by other getUpdates request")
    first.close()


def test_polling_and_a_webhook_exclude_each_other(telegram: FakeTelegram, call: Call) -> None:
    url = "https://example.com/hook"
    assert call("setWebhook", url=url, allowed_updates=["message"], secret_token="s")["ok"]
    say(telegram, "hi")
    info = call("getWebhookInfo")["result"]
    assert (info["url"], info["pending_update_count"], info["allowed_updates"]) == (url, 1, ["message"])
    assert call("getUpdates")["error_code"] == 409
    assert call("deleteWebhook", drop_pending_updates=True)["ok"]
    assert ids(call) == []


def test_kinds_that_were_not_asked_for_are_not_kept() -> None:
    queue = UpdateQueue()
    assert queue.push({"message_reaction": {}}) is None
    assert queue.push({"message": {}}) == 1
    queue.allow(["message_reaction"])
    assert queue.push({"message_reaction": {}}) == 2
    assert queue.push({"message": {}}) is None


def test_commands_are_kept_by_scope_and_language(call: Call) -> None:
    commands = [{"command": "start", "description": "Begin"}]
    call("setMyCommands", commands=commands, language_code="de")
    assert call("getMyCommands", language_code="de")["result"] == commands
    assert call("getMyCommands")["result"] == []
    call("deleteMyCommands", language_code="de")
    assert call("getMyCommands", language_code="de")["result"] == []
