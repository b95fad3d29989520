"""The methods that do something with messages that are there: copy, forward, edit, delete, pin."""

from collections.abc import Callable
from typing import Any

from longwave.testing.fake_telegram.answers import bad_request
from longwave.testing.fake_telegram.bots import TRUE, Call, Method, as_json
from longwave.testing.fake_telegram.delivery import Target, admit, decorations, note, post, send, target_of
from longwave.testing.fake_telegram.keyboards import read_markup
from longwave.testing.fake_telegram.parameters import (
    Params,
    flag_of,
    message_ids_of,
    required_text,
    text_of,
    value_of,
    whole_of,
)
from longwave.testing.fake_telegram.sending import input_media, text_content, with_markup
from longwave.testing.fake_telegram.texts import read_caption

DELETABLE_SECONDS = 48 * 3600
_NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a "
    "current content and reply markup of the message"
)

# What belongs to a message and not to its content, and therefore does not travel with a copy.
_OWN = frozenset(
    {
        "message_id",
        "from",
        "sender_chat",
        "chat",
        "date",
        "edit_date",
        "reply_markup",
        "forward_origin",
        "media_group_id",
        "reply_to_message",
        "message_thread_id",
        "is_topic_message",
        "has_protected_content",
        "effect_id",
    }
)
_CAPTION = frozenset({"caption", "caption_entities", "show_caption_above_media"})
_TEXT = frozenset({"text", "entities", "link_preview_options"})
_MEDIA = frozenset({"photo", "video", "animation", "audio", "voice", "document"})


def _content_of(message: Params) -> Params:
    return {key: value for key, value in message.items() if key not in _OWN}


def _text_in(content: Params) -> str:
    return str(content.get("text") or content.get("caption") or "")


def _source(call: Call, message_id: int, what: str) -> Params:
    required_text(call.params, "from_chat_id")
    message = call.bot.find(target_of(call, "from_chat_id").id, message_id)
    if message is None:
        raise bad_request(f"{what} not found")
    return message


def _copied(call: Call, message: Params) -> Params:
    if message.get("has_protected_content"):
        raise bad_request("The message can't be copied")
    content = _content_of(message)
    if "caption" in call.params and not _MEDIA.isdisjoint(content):
        content = {key: value for key, value in content.items() if key not in _CAPTION} | read_caption(
            call.params
        )
    return content


def _copy_message(call: Call) -> bytes:
    message = _source(call, whole_of(call.params, "message_id"), "message to copy")
    content = with_markup(call, _copied(call, message))
    body = send(call, content, _text_in(content))
    return b'{"message_id":%b}' % body[len(b'{"message_id":') : body.index(b",")]


def _forwarded(message: Params) -> Params:
    if message.get("has_protected_content"):
        raise bad_request("Message has protected content and can't be forwarded")
    sender = message.get("from")
    origin: Params = message.get("forward_origin") or (
        {"type": "user", "date": message["date"], "sender_user": sender}
        if sender
        else {
            "type": "channel",
            "date": message["date"],
            "chat": message["chat"],
            "message_id": message["message_id"],
        }
    )
    kept = {"reply_markup": message["reply_markup"]} if "reply_markup" in message else {}
    return {"forward_origin": origin, **_content_of(message), **kept}


def _forward_message(call: Call) -> bytes:
    content = _forwarded(_source(call, whole_of(call.params, "message_id"), "message to forward"))
    return send(call, content, _text_in(content))


def _several(take: Callable[[Call, Params], Params]) -> Callable[[Call], bytes]:
    """copyMessages and forwardMessages: messages that are not there are left out."""

    def run(call: Call) -> bytes:
        ids = message_ids_of(call.params)
        required_text(call.params, "from_chat_id")
        source = target_of(call, "from_chat_id")
        call.weight = len(ids)
        found = [message for message in (call.bot.find(source.id, nth) for nth in ids) if message is not None]
        if not found:
            raise bad_request("There are no messages to forward")
        target = target_of(call)
        contents = [take(call, message) | decorations(call, target) for message in found]
        admit(call, target, weight=len(contents))
        posted = [post(call, target, content)[0] for content in contents]
        note(call, target, posted[0], _text_in(contents[0]), weight=len(posted))
        return as_json([{"message_id": number} for number in posted])

    return run


def _copied_in_bulk(call: Call, message: Params) -> Params:
    content = _copied(call, message)
    if flag_of(call.params, "remove_caption"):
        content = {key: value for key, value in content.items() if key not in _CAPTION}
    return content


def _forwarded_in_bulk(_call: Call, message: Params) -> Params:
    return _forwarded(message)


def _message_to_edit(call: Call) -> tuple[Target, Params]:
    if not text_of(call.params, "chat_id") and not whole_of(call.params, "message_id"):
        raise bad_request(
            "MESSAGE_ID_INVALID"
            if call.params.get("inline_message_id")
            else "Message identifier is not specified"
        )
    target = target_of(call)
    message = call.bot.find(target.id, whole_of(call.params, "message_id"))
    if message is None:
        raise bad_request("message to edit not found")
    if message.get("from", {}).get("id", call.bot.id) != call.bot.id or "forward_origin" in message:
        raise bad_request("Message can't be edited")
    return target, message


def _edited(call: Call, target: Target, message: Params, content: Params) -> bytes:
    """Put `content` into the message's place. Without a keyboard in the request the message loses its own."""
    kept = {
        key: value
        for key, value in message.items()
        if key in _OWN and key not in ("reply_markup", "edit_date")
    }
    after = kept | content
    if {**after, "edit_date": 0} == {**message, "edit_date": 0}:
        raise bad_request(_NOT_MODIFIED)
    admit(call, target, per_chat=False)
    body = call.bot.replace(after | {"edit_date": int(call.at)})
    note(call, target, message["message_id"], _text_in(content), weight=0)
    return body


def _edit_text(call: Call) -> bytes:
    content = text_content(call)
    target, message = _message_to_edit(call)
    if "text" not in message:
        raise bad_request("There is no text in the message to edit")
    return _edited(call, target, message, content)


def _edit_caption(call: Call) -> bytes:
    caption = with_markup(call, read_caption(call.params))
    target, message = _message_to_edit(call)
    if _MEDIA.isdisjoint(message):
        raise bad_request("There is no caption in the message to edit")
    content = {key: value for key, value in _content_of(message).items() if key not in _CAPTION}
    return _edited(call, target, message, content | caption)


def _edit_media(call: Call) -> bytes:
    required_text(call.params, "media")
    item: Any = value_of(call.params, "media", "Can't parse input media JSON object")
    content = with_markup(call, input_media(call, item))
    target, message = _message_to_edit(call)
    if _MEDIA.isdisjoint(message) and _TEXT.isdisjoint(message):
        raise bad_request("Message media can't be edited")
    return _edited(call, target, message, content)


def _edit_markup(call: Call) -> bytes:
    markup = read_markup(call.params)
    target, message = _message_to_edit(call)
    content = _content_of(message)
    return _edited(call, target, message, content | ({"reply_markup": markup} if markup else {}))


def _check_deletable(call: Call, message: Params) -> None:
    if call.at + call.world.aged - message["date"] > DELETABLE_SECONDS:
        raise bad_request("Message can't be deleted for everyone")


def _delete_message(call: Call) -> bytes:
    if not text_of(call.params, "chat_id"):
        raise bad_request("Chat identifier is not specified")
    message_id = whole_of(call.params, "message_id")
    if not message_id:
        raise bad_request("Message identifier is not specified")
    target = target_of(call)
    message = call.bot.find(target.id, message_id)
    if message is None:
        raise bad_request("message to delete not found")
    _check_deletable(call, message)
    return _delete(call, target, [message_id])


def _delete_messages(call: Call) -> bytes:
    ids = message_ids_of(call.params)
    target = target_of(call)
    found = [message for message in (call.bot.find(target.id, nth) for nth in ids) if message is not None]
    for message in found:
        _check_deletable(call, message)
    return _delete(call, target, [message["message_id"] for message in found])


def _delete(call: Call, target: Target, ids: list[int]) -> bytes:
    admit(call, target, per_chat=False)
    for message_id in ids:
        call.bot.forget(target.id, message_id)
        note(call, target, message_id, "", weight=0)
    return TRUE


def _pin(call: Call) -> bytes:
    target = target_of(call)
    if call.bot.find(target.id, whole_of(call.params, "message_id")) is None:
        raise bad_request("message to pin not found")
    return TRUE


def _unpin(call: Call) -> bytes:
    target = target_of(call)
    message_id = whole_of(call.params, "message_id")
    if message_id and call.bot.find(target.id, message_id) is None:
        raise bad_request("message to unpin not found")
    return TRUE


def _unpin_all(call: Call) -> bytes:
    target_of(call)
    return TRUE


METHODS = (
    # The documentation gives forwardMessage, forwardMessages and copyMessages no allow_paid_broadcast.
    Method("copyMessage", _copy_message, paced=True, has_paid=True),
    Method("copyMessages", _several(_copied_in_bulk), paced=True),
    Method("forwardMessage", _forward_message, paced=True),
    Method("forwardMessages", _several(_forwarded_in_bulk), paced=True),
    Method("editMessageText", _edit_text, paced=True),
    Method("editMessageCaption", _edit_caption, paced=True),
    Method("editMessageMedia", _edit_media, paced=True),
    Method("editMessageReplyMarkup", _edit_markup, paced=True),
    Method("deleteMessage", _delete_message, paced=True),
    Method("deleteMessages", _delete_messages, paced=True),
    Method("pinChatMessage", _pin),
    Method("unpinChatMessage", _unpin),
    Method("unpinAllChatMessages", _unpin_all),
)
