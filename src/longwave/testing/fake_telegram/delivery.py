"""What every send has in common: the chat, the limits, the message that comes of it, the journal."""

from typing import Any
from zlib import crc32

import orjson

from longwave.testing.fake_telegram.answers import Throttled, bad_request
from longwave.testing.fake_telegram.bots import Call
from longwave.testing.fake_telegram.limits import whole_seconds
from longwave.testing.fake_telegram.parameters import Params, flag_of, text_of, value_of, whole_of
from longwave.testing.fake_telegram.population import State, check_reachable, kind_of_chat

MAX_CHAT_ID = (1 << 52) - 1
"""The documentation promises ids of at most 52 significant bits."""
STAR_TENTHS = 1
"""A paid message costs 0.1 Star."""


class Target:
    """The chat a request is for."""

    __slots__ = ("id", "state", "username")

    def __init__(self, chat_id: int, state: State | int, username: str = "") -> None:
        self.id = chat_id
        self.state = state
        self.username = username

    def as_chat(self) -> Params:
        """The chat object of a message."""
        if self.username:
            title = self.username.removeprefix("@")
            return {"id": self.id, "title": title, "username": title, "type": "channel"}
        return chat_object(self.id)


def chat_object(chat_id: int) -> Params:
    """The chat object for an id, of the type the id's range says."""
    if chat_id > 0:
        return {"id": chat_id, "first_name": f"User {chat_id}", "type": "private"}
    return {"id": chat_id, "title": f"Group {-chat_id}", "type": kind_of_chat(chat_id)}


def target_of(call: Call, name: str = "chat_id") -> Target:
    """The chat a parameter names; an unknown one is refused at once, the others by `admit`."""
    chat = call.params.get(name)
    if type(chat) is not int:
        return _target_of_text(call, text_of(call.params, name).strip(), name)
    return _known(Target(chat, call.world.population.of(chat)))


def _target_of_text(call: Call, chat: str, name: str) -> Target:
    if not chat:
        raise bad_request(f"{name} is empty")
    if chat.startswith("@") and len(chat) > 1:
        # A public channel gets an id of its own that only depends on its name.
        return _known(
            Target(-1_000_000_000_000 - crc32(chat.lower().encode()), call.world.population.of(chat), chat)
        )
    try:
        number = int(chat)
    except ValueError:
        raise bad_request("chat not found") from None
    return _known(Target(number, call.world.population.of(number)))


def _known(target: Target) -> Target:
    if target.state is State.NOT_FOUND or not 0 < abs(target.id) <= MAX_CHAT_ID:
        raise bad_request("chat not found")
    return target


def is_paid(call: Call) -> bool:
    """Whether the request asks for a paid broadcast and its method knows the word."""
    return (
        call.method.has_paid
        and "allow_paid_broadcast" in call.params
        and flag_of(call.params, "allow_paid_broadcast")
    )


def admit(call: Call, target: Target, *, weight: int = 1, per_chat: bool = True) -> None:
    """Let the request through every limit and to its chat, or refuse it. Charges paid messages.

    An edit has `per_chat=False`: it uses the bot's rate but not the chat's.
    """
    call.weight = weight
    _check_flood(call)
    cost = _pass_limits(call, target, weight, per_chat)
    if target.state is not State.OK:
        check_reachable(target.id, target.state)
    if cost:
        call.bot.stars_tenths -= cost
        call.bot.stars_spent_tenths += cost


def _check_flood(call: Call) -> None:
    wait = call.bot.flood_until - call.at
    if wait > 0:
        raise Throttled(whole_seconds(wait), "flood")


def _pass_limits(call: Call, target: Target, weight: int, per_chat: bool) -> int:
    """Count the request in every window, or refuse it and count it in none. Answers its Star tenths."""
    bot, limits, now = call.bot, call.world.limits, call.at
    private = target.id > 0
    burst, seconds = (
        (limits.chat_burst, limits.chat_seconds) if private else (limits.group_burst, limits.group_seconds)
    )
    windows = bot.private if private else bot.groups
    if burst is not None and per_chat:
        wait = windows.wait(target.id, now, weight, burst, seconds)
        if wait > 0:
            raise Throttled(whole_seconds(wait), "chat" if private else "group")
    cost = _pass_rate(call, weight)
    if burst is not None and per_chat:
        windows.add(target.id, now, weight, burst, seconds)
    return cost


def _pass_rate(call: Call, weight: int) -> int:
    bot, limits, now = call.bot, call.world.limits, call.at
    if limits.rate is None:
        return 0
    rate, cost = limits.rate, 0
    if is_paid(call):
        cost = STAR_TENTHS * max(0, weight - max(0, rate - bot.window.count(now, 1.0)))
        if cost and cost <= bot.stars_tenths:
            rate = max(rate, limits.paid_rate)
        else:
            cost = 0
    wait = bot.window.wait(now, weight, rate, 1.0)
    if wait > 0:
        retry_after = whole_seconds(wait)
        bot.flood_until = now + retry_after
        raise Throttled(retry_after, "global")
    bot.window.add(now, weight, rate, 1.0)
    return cost


def post(call: Call, target: Target, content: Params) -> tuple[int, bytes]:
    """Make one message of `content`, keep it, and answer its id and JSON. `admit` comes before."""
    bot = call.bot
    message_id = bot.next_message_id()
    message: dict[str, Any] = {"message_id": message_id}
    if target.username:
        message["sender_chat"] = target.as_chat()
    else:
        message["from"] = bot.user_json
    message["chat"] = target.as_chat()
    message["date"] = int(call.at)
    message.update(content)
    body = orjson.dumps(message)
    bot.store(message_id, body)
    return message_id, body


def note(call: Call, target: Target, message_id: int, text: str, weight: int = 1) -> None:
    """Write an accepted request to the journal; `message_id` is the first one of several."""
    call.world.journal.accept(
        call.at, call.bot.id, call.method.number, target.id, message_id, weight, is_paid(call), text
    )


def send(call: Call, content: Params, text: str = "") -> bytes:
    """The whole way of a request that makes one message."""
    target = target_of(call)
    if len(call.params) > 2:
        content.update(decorations(call, target))
    admit(call, target)
    message_id, body = post(call, target, content)
    note(call, target, message_id, text)
    return body


def decorations(call: Call, target: Target) -> Params:
    """The parts of a message that options every send method has leave on it."""
    params = call.params
    found: Params = {}
    if flag_of(params, "protect_content"):
        found["has_protected_content"] = True
    if params.get("message_effect_id"):
        found["effect_id"] = text_of(params, "message_effect_id")
    if params.get("message_thread_id"):
        found |= {"message_thread_id": whole_of(params, "message_thread_id"), "is_topic_message": True}
    if "reply_parameters" in params or "reply_to_message_id" in params:
        found |= _reply(call, target)
    return found


def _reply(call: Call, target: Target) -> Params:
    given = value_of(call.params, "reply_parameters", "Can't parse reply parameters JSON object")
    if given is None:
        given = {
            "message_id": whole_of(call.params, "reply_to_message_id"),
            "allow_sending_without_reply": flag_of(call.params, "allow_sending_without_reply"),
        }
    if not isinstance(given, dict):
        raise bad_request("Object expected as reply parameters")
    message = call.bot.find(target.id, whole_of(given, "message_id"))
    if message is not None:
        message.pop("reply_to_message", None)
        return {"reply_to_message": message}
    if flag_of(given, "allow_sending_without_reply"):
        return {}
    raise bad_request("message to be replied not found")
