"""Who the chats are: which of them blocked the bot, are gone, were never there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from longwave.testing.fake_telegram.answers import Refusal, bad_request, forbidden


class State(StrEnum):
    """What a chat does with a message."""

    OK = "ok"
    """receives it"""
    BLOCKED = "blocked"
    """a person who blocked the bot"""
    DEACTIVATED = "deactivated"
    """an account that was deleted"""
    NOT_FOUND = "not_found"
    """an id this bot never met"""
    NOT_STARTED = "not_started"
    """a person who never pressed Start"""
    KICKED = "kicked"
    """a group that removed the bot"""
    LEFT = "left"
    """a group the bot is not a member of"""
    DELETED = "deleted"
    """a basic group that was deleted"""


SHARES = (State.BLOCKED, State.DEACTIVATED, State.NOT_FOUND, State.NOT_STARTED)
"""States that can be given to a share of all private chats, in the order in which the shares are laid out."""

_MASK = (1 << 64) - 1
Chat = State | int
"""A state, or the id of the supergroup that a group was upgraded to."""


def share_of(chat_id: int) -> float:
    """A number in [0, 1) that is always the same for one chat id and looks random over many (splitmix64)."""
    mixed = (chat_id + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


@dataclass(frozen=True, slots=True)
class Population:
    """Shares of private chats in each state, and chats whose state was named. Everybody else is fine."""

    shares: Mapping[State, float] = field(default_factory=dict)
    chats: Mapping[int | str, Chat] = field(default_factory=dict)

    def of(self, chat: int | str) -> Chat:
        """What chat id `chat` (or "@username") does with a message. Shares are for private chats only."""
        named = self.chats.get(chat)
        if named is not None:
            return named
        if not self.shares or isinstance(chat, str) or chat <= 0:
            return State.OK
        place = share_of(chat)
        for state in SHARES:
            place -= self.shares.get(state, 0.0)
            if place < 0:
                return state
        return State.OK


def read_population(data: Mapping[str, Any], known: Population) -> Population:
    """`{"blocked": 0.02, …, "chats": {"42": "blocked", "-5": {"upgraded_to": -1005}}}` laid over `known`."""
    shares = dict(known.shares)
    chats = dict(known.chats)
    for name, value in data.items():
        if name == "chats":
            chats.update({_chat_key(chat): _chat_state(chat, what) for chat, what in value.items()})
        elif name in set(SHARES):
            shares[State(name)] = _share(name, value)
        else:
            allowed = ", ".join([*SHARES, "chats"])
            raise ValueError(f"{name} is not known here: give {allowed}")
    if sum(shares.values()) > 1:
        raise ValueError(f"the shares add up to {sum(shares.values()):g}: give at most 1 in all")
    return Population({state: share for state, share in shares.items() if share}, chats)


def check_reachable(chat_id: int, chat: Chat) -> None:
    """Refuse a message to a chat that does not take it, in Telegram's words."""
    if chat is not State.OK:
        raise _refusal(chat_id, chat)


def _refusal(chat_id: int, chat: Chat) -> Refusal:
    if not isinstance(chat, State):
        text = "group chat was upgraded to a supergroup chat"
        return Refusal(400, f"Bad Request: {text}", {"migrate_to_chat_id": chat})
    match chat:
        case State.BLOCKED:
            return forbidden("bot was blocked by the user")
        case State.DEACTIVATED:
            return forbidden("user is deactivated")
        case State.NOT_STARTED:
            return forbidden("bot can't initiate conversation with a user")
        case State.KICKED:
            return forbidden(f"bot was kicked from the {kind_of_chat(chat_id)} chat")
        case State.LEFT:
            return forbidden(f"bot is not a member of the {kind_of_chat(chat_id)} chat")
        case State.DELETED:
            return forbidden("the group chat was deleted")
        case _:
            return bad_request("chat not found")


def kind_of_chat(chat_id: int) -> str:
    """`private`, `group` or `supergroup`, by the range the id is in."""
    if chat_id > 0:
        return "private"
    return "supergroup" if chat_id <= -1_000_000_000_000 else "group"


def _share(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} = {value!r}: give a share from 0 to 1")
    return float(value)


def _chat_key(chat: str) -> int | str:
    return chat if chat.startswith("@") else int(chat)


def _chat_state(chat: str, what: Any) -> Chat:
    if isinstance(what, dict) and isinstance(what.get("upgraded_to"), int):
        return int(what["upgraded_to"])
    if what not in set(State):
        allowed = ", ".join(State)
        raise ValueError(f'chats.{chat} = {what!r}: give one of {allowed}, or {{"upgraded_to": ID}}')
    return State(what)
