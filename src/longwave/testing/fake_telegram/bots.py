"""A bot as the server sees it: its limits' windows, messages, files and updates."""

import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from longwave.testing.fake_telegram.files import FileStore
from longwave.testing.fake_telegram.limits import KeyedWindows, SlidingWindow
from longwave.testing.fake_telegram.parameters import Params
from longwave.testing.fake_telegram.updates import UpdateQueue

if TYPE_CHECKING:
    from longwave.testing.fake_telegram.http import Exchange
    from longwave.testing.fake_telegram.world import World

TOKEN = re.compile(r"([1-9][0-9]{0,15}):[A-Za-z0-9_-]{30,}")


class Bot:
    """One bot, found by the number before its token's colon."""

    def __init__(self, bot_id: int, stars_tenths: int, keep_messages: int) -> None:
        self.id = bot_id
        self.user: Params = {
            "id": bot_id,
            "is_bot": True,
            "first_name": f"Fake bot {bot_id}",
            "username": f"fake_{bot_id}_bot",
        }
        self.user_json = orjson.Fragment(orjson.dumps(self.user))
        self.window = SlidingWindow()
        self.private = KeyedWindows()
        self.groups = KeyedWindows()
        self.flood_until = 0.0
        self.stars_tenths = stars_tenths
        self.stars_spent_tenths = 0
        self.files = FileStore(bot_id)
        self.updates = UpdateQueue()
        self.callbacks: set[str] = set()
        self.commands: dict[str, list[Params]] = {}
        self.webhook: Params = {}
        self.is_logged_out = False
        self._last_id = 0
        self._keep_messages = keep_messages
        self._sent: dict[int, bytes] = {}
        self._order: deque[int] = deque()
        self._received: dict[tuple[int, int], bytes] = {}

    def next_message_id(self) -> int:
        """A new message id; one counter a bot, as in private chats there."""
        self._last_id += 1
        return self._last_id

    def store(self, message_id: int, message: bytes) -> None:
        """Keep a sent message, and forget the oldest over the limit."""
        self._sent[message_id] = _compact(message)
        self._order.append(message_id)
        if len(self._order) > self._keep_messages:
            self._sent.pop(self._order.popleft(), None)

    def replace(self, message: Params) -> bytes:
        """Keep an edited message in its place; answers its JSON."""
        body = orjson.dumps(message)
        self._sent[message["message_id"]] = _compact(body)
        return body

    def receive(self, message: Params) -> None:
        """Keep a message somebody sent to the bot, so that it can be copied, forwarded or answered."""
        self._last_id = max(self._last_id, message["message_id"])
        self._received[message["chat"]["id"], message["message_id"]] = _compact(orjson.dumps(message))

    def find(self, chat_id: int, message_id: int) -> Params | None:
        """A message that is still there, in the chat it is in."""
        body = self._received.get((chat_id, message_id)) or self._sent.get(message_id)
        if body is None:
            return None
        message: Params = orjson.loads(body)
        return message if message["chat"]["id"] == chat_id else None

    def forget(self, chat_id: int, message_id: int) -> None:
        """Delete a message."""
        if self._received.pop((chat_id, message_id), None) is None:
            self._sent.pop(message_id, None)


def _compact(body: bytes) -> bytes:
    """A copy without the 4 KB that orjson reserves for every text and keeps as long as the text lives."""
    return bytes(memoryview(body))


class Method:
    """A method of the Bot API. `paced`: limits count it, and faults hit it unless they name others."""

    __slots__ = ("has_paid", "name", "number", "paced", "run")

    def __init__(
        self, name: str, run: "Callable[[Call], bytes | None]", *, paced: bool = False, has_paid: bool = False
    ) -> None:
        self.name = name
        self.run = run
        self.paced = paced
        self.has_paid = has_paid
        self.number = 0


class Call:
    """One request to one method. `run` answers the JSON of the result, or None to `finish` later."""

    __slots__ = ("at", "bot", "delay", "drops_after", "exchange", "method", "params", "weight", "world")

    def __init__(
        self, world: "World", bot: Bot, method: Method, params: Params, exchange: "Exchange", at: float
    ) -> None:
        self.world = world
        self.bot = bot
        self.method = method
        self.params = params
        self.exchange = exchange
        self.at = at
        self.weight = 1
        self.delay = 0.0
        self.drops_after = False


TRUE = b"true"


def as_json(value: Any) -> bytes:
    """The JSON of a result."""
    return orjson.dumps(value)
