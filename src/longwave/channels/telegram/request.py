"""Content as a request: the Bot API's method and parameters, without the chat."""

from typing import Any

from msgspec import to_builtins

from longwave.channels.telegram.entities import Entity
from longwave.channels.telegram.keyboard import markup
from longwave.channels.telegram.kinds import Album, Content, Copy, Forward, Item, Poll, Text, kind_of
from longwave.channels.telegram.media import Media, reference

_METHODS = {
    "text": "sendMessage",
    "photo": "sendPhoto",
    "video": "sendVideo",
    "animation": "sendAnimation",
    "audio": "sendAudio",
    "voice": "sendVoice",
    "video_note": "sendVideoNote",
    "document": "sendDocument",
    "sticker": "sendSticker",
    "poll": "sendPoll",
    "location": "sendLocation",
    "venue": "sendVenue",
    "contact": "sendContact",
    "dice": "sendDice",
    "album": "sendMediaGroup",
    "copy": "copyMessage",
    "forward": "forwardMessage",
}
_RENAMED = {
    "silent": "disable_notification",
    "protected": "protect_content",
    "topic_id": "message_thread_id",
    "link_preview": "link_preview_options",
}


def method(content: Content) -> str:
    """The Bot API method that sends it."""
    name = _METHODS[kind_of(content)]
    return name + "s" if isinstance(content, Copy | Forward) and content.message_ids else name


def params(content: Content, *, paid: bool = False) -> dict[str, object]:
    """Every parameter of that method except chat_id, ready for JSON. None is left out, and so are defaults.

    A local file is `attach://` and the name of its multipart part (`media.attach_name`). `paid` sets
    allow_paid_broadcast; `check` tells beforehand where Telegram does not have it.
    """
    found = _fields(content, "")
    if isinstance(content, Album):
        found["media"] = [_item(item, i) for i, item in enumerate(content.items)]
    elif isinstance(content, Poll):
        _finish_poll(content, found)
    if paid:
        found["allow_paid_broadcast"] = True
    return found


def weight(content: Content) -> int:
    """How many messages one send counts as: an album's items, or what is copied or forwarded at once."""
    if isinstance(content, Album):
        return len(content.items)
    if isinstance(content, Copy | Forward):
        return len(content.message_ids) or 1
    return 1


def _fields(owner: Content | Item, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in owner.__struct_fields__:
        value = getattr(owner, name)
        if value is None or value is False or value == () or name == "items":
            continue
        if name == "keyboard":
            found["reply_markup"] = markup(value)
        elif name == "entities":
            found["entities" if isinstance(owner, Text) else "caption_entities"] = [_entity(e) for e in value]
        elif isinstance(value, Media):
            found[name] = reference(value, prefix + name)
        else:
            found[_RENAMED.get(name, name)] = value if isinstance(value, str | int | float) else _plain(value)
    if "parse_mode" in found and "text" not in found and "caption" not in found:
        del found["parse_mode"]
    return found


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else to_builtins(value)


def _item(item: Item, index: int) -> dict[str, Any]:
    return {"type": kind_of(item), **_fields(item, f"items[{index}].")}


def _entity(entity: Entity) -> dict[str, Any]:
    found: dict[str, Any] = to_builtins(entity)
    user_id = found.pop("user_id", None)
    return found if user_id is None else {**found, "user": {"id": user_id}}


def _finish_poll(poll: Poll, found: dict[str, Any]) -> None:
    found["options"] = [{"text": option} for option in poll.options]
    found["is_anonymous"] = poll.is_anonymous
    if poll.parse_mode and poll.explanation is not None:
        found["explanation_parse_mode"] = poll.parse_mode
    if poll.correct_option_id is not None:
        # Newer Bot API servers want the list; an older server of one's own knows only the single id.
        found["correct_option_ids"] = [poll.correct_option_id]
