"""What Telegram would refuse about a content, found before anything is sent.

Numbers are the Bot API's. Lengths are UTF-16 code units of what is left after parsing the markup.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from msgspec import to_builtins

from longwave.channels.telegram import kinds
from longwave.channels.telegram.entities import Entity, MarkupError, Parsed, utf16_length
from longwave.channels.telegram.keyboard import check_keyboard
from longwave.channels.telegram.kinds import Album, Content, Copy, Forward, Item, Poll, Text
from longwave.channels.telegram.links import checked_link, custom_emoji_id
from longwave.channels.telegram.markup import PARSERS
from longwave.channels.telegram.media import MAX_PHOTO, MAX_THUMBNAIL, MAX_UPLOAD, check_media, is_web_address
from longwave.channels.telegram.templates import fillable, has_template
from longwave.core.errors import Problem

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_MESSAGES_AT_ONCE = 100
_PLAIN_ENTITIES = frozenset(
    [
        "mention",
        "hashtag",
        "cashtag",
        "bot_command",
        "url",
        "email",
        "phone_number",
        "bold",
        "italic",
        "underline",
        "strikethrough",
        "spoiler",
        "blockquote",
        "expandable_blockquote",
        "code",
        "pre",
        "text_link",
        "text_mention",
        "custom_emoji",
        "date_time",
    ]
)
# What an album may consist of: each set mixes freely within itself, and with nothing else.
_ALBUM_MIXES = (frozenset({"photo", "video"}), frozenset({"audio"}), frozenset({"document"}))
_RANGES: dict[str, tuple[float, float]] = {
    "latitude": (-90, 90),
    "longitude": (-180, 180),
    "horizontal_accuracy": (0, 1500),
    "heading": (1, 360),
    "proximity_alert_radius": (1, 100_000),
    "duration": (0, (1 << 31) - 1),
    "width": (0, (1 << 31) - 1),
    "height": (0, (1 << 31) - 1),
    "length": (0, (1 << 31) - 1),
    "start_timestamp": (0, (1 << 31) - 1),
    "topic_id": (1, (1 << 31) - 1),
    "open_period": (5, 2_628_000),
    "close_date": (1, (1 << 31) - 1),
}
_LIVE_FOREVER = 0x7FFFFFFF
_NO_TEMPLATE = (
    "must not hold a template; templates work in text, in captions, "
    "and in the text, address, data and copied text of a button"
)


def check(content: Content, *, paid: bool = False) -> list[Problem]:
    """Everything that is known to be wrong before a send. Local files are looked at.

    Texts with templates are left to `check_rendered`. paid: whether it goes out as a paid broadcast.
    """
    return [
        *_check_texts(content, rendered=False),
        *_check_stray_templates(content),
        *_check_numbers(content, ""),
        *_check_files(content),
        *_check_kind(content),
        *_check_paid(content, paid),
    ]


def check_rendered(content: Content) -> list[Problem]:
    """What is wrong with texts and buttons after their templates were filled in for one recipient."""
    return list(_check_texts(content, rendered=True))


def _check_texts(content: Content, *, rendered: bool) -> Iterator[Problem]:
    if isinstance(content, Text):
        yield from _check_text(content.text, content, "text", MAX_TEXT, rendered=rendered)
    elif isinstance(content, Album):
        for i, item in enumerate(content.items):
            yield from _check_caption(item, f"items[{i}].", rendered=rendered)
    else:
        yield from _check_caption(content, "", rendered=rendered)
    rows = getattr(content, "keyboard", ())
    yield from check_keyboard(rows, is_copy=isinstance(content, Copy), rendered=rendered)


def _check_caption(owner: Any, prefix: str, *, rendered: bool) -> Iterator[Problem]:
    caption = getattr(owner, "caption", None)
    if caption is not None:
        yield from _check_text(caption, owner, f"{prefix}caption", MAX_CAPTION, rendered=rendered)
    elif getattr(owner, "entities", ()):
        yield Problem(f"{prefix}entities", len(owner.entities), "need a caption that they belong to")


def _check_text(text: str, owner: Any, field: str, limit: int, *, rendered: bool) -> Iterator[Problem]:
    entities = field.removesuffix("text").removesuffix("caption") + "entities"
    if owner.entities and owner.parse_mode:
        yield Problem(
            entities, len(owner.entities), "cannot be combined with parse_mode; leave one of them out"
        )
    if has_template(text) and not rendered:
        if owner.entities:
            yield Problem(entities, len(owner.entities), f"cannot be combined with a template in {field}")
        return
    try:
        parsed = PARSERS[owner.parse_mode.lower()](text) if owner.parse_mode else Parsed(text)
    except MarkupError as error:
        yield Problem(field, text, f"Telegram cannot read it as {owner.parse_mode}: {error}")
        return
    yield from _check_length(parsed.text, field, limit)
    yield from _check_entities(owner.entities, utf16_length(text), entities)


def _check_length(text: str, field: str, limit: int) -> Iterator[Problem]:
    # Inexact by design: Telegram keeps leading spaces that an entity covers, we count none of them.
    length = utf16_length(text.strip())
    if field.endswith("text") and not length:
        yield Problem(field, text, f"is empty without its markup and spaces; write 1 to {limit} characters")
    elif length > limit:
        yield Problem(field, text, f"has {length} characters after markup; Telegram allows {limit}")


def _check_entities(entities: tuple[Entity, ...], length: int, field: str) -> Iterator[Problem]:
    for i, entity in enumerate(entities):
        where = f"{field}[{i}]"
        if entity.type not in _PLAIN_ENTITIES:
            yield Problem(
                f"{where}.type", entity.type, f"must be one of {', '.join(sorted(_PLAIN_ENTITIES))}"
            )
        if entity.offset < 0 or entity.length <= 0 or entity.offset + entity.length > length:
            span = (entity.offset, entity.length)
            yield Problem(where, span, f"offset and length must lie within the text's {length} UTF-16 units")
        yield from _check_entity_value(entity, where)


def _check_entity_value(entity: Entity, where: str) -> Iterator[Problem]:
    if entity.type == "text_link" and not checked_link(entity.url or ""):
        yield Problem(f"{where}.url", entity.url, "a text_link needs an http://, https:// or tg:// address")
    if entity.type == "text_mention" and not entity.user_id:
        yield Problem(f"{where}.user_id", entity.user_id, "a text_mention needs the id of a user")
    if entity.type == "custom_emoji" and not custom_emoji_id(entity.custom_emoji_id or ""):
        yield Problem(f"{where}.custom_emoji_id", entity.custom_emoji_id, "must be a number in quotes")
    if entity.type == "date_time" and not entity.unix_time:
        yield Problem(f"{where}.unix_time", entity.unix_time, "a date_time needs a unix time")


def _check_stray_templates(content: Content) -> Iterator[Problem]:
    """A template where none is rendered would go out to everybody as it stands."""
    allowed = {field for field, _ in fillable(content)}
    for field, text in _strings(to_builtins(content), ""):
        if has_template(text) and field not in allowed:
            yield Problem(field, text, _NO_TEMPLATE)


def _strings(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, tuple | list):
        for i, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{i}]")


def _check_numbers(owner: Content | Item, prefix: str) -> Iterator[Problem]:
    for name in owner.__struct_fields__:
        value = getattr(owner, name)
        if name in _RANGES and value is not None:
            low, high = _RANGES[name]
            if not low <= value <= high:
                yield Problem(prefix + name, value, f"must be between {low:g} and {high:g}")
    if isinstance(owner, Album):
        for i, item in enumerate(owner.items):
            yield from _check_numbers(item, f"items[{i}].")


def _check_files(content: Content) -> Iterator[Problem]:
    found = kinds.medias(content)
    for field, media in found.items():
        if field.endswith("thumbnail"):
            main = found.get(field.removesuffix("thumbnail") + "media") or found.get(kinds.kind_of(content))
            if media.path is None or main is None or main.path is None:
                yield Problem(
                    field, to_builtins(media), "must be a local file, for a local file; else leave it out"
                )
                continue
        yield from check_media(media, field, limit=_upload_limit(content, field))


def _upload_limit(content: Content, field: str) -> int:
    if field.endswith("thumbnail"):
        return MAX_THUMBNAIL
    if field.endswith("cover"):
        return MAX_PHOTO
    owner = content
    kind = kinds.kind_of(owner)
    if isinstance(owner, Album):
        kind = kinds.kind_of(owner.items[int(field[len("items[") : field.index("]")])])
    return MAX_PHOTO if kind == "photo" else MAX_UPLOAD


def _check_kind(content: Content) -> Iterator[Problem]:
    if content.message_effect_id is not None and not custom_emoji_id(content.message_effect_id):
        yield Problem("message_effect_id", content.message_effect_id, "must be a number in quotes")
    match content:
        case Text():
            yield from _check_preview(content)
        case Album():
            yield from _check_album(content)
        case Poll():
            yield from _check_poll(content)
        case Copy() | Forward():
            yield from _check_source(content)
        case kinds.Location():
            yield from _check_live(content)
        case kinds.Venue():
            yield from _check_filled(content, "title", "address")
        case kinds.Contact():
            yield from _check_contact(content)
        case kinds.VideoNote() if content.video_note.url is not None:
            yield Problem(
                "video_note.url", content.video_note.url, "must be a path or a file_id for a video note"
            )


def _check_preview(content: Text) -> Iterator[Problem]:
    preview = content.link_preview
    if preview is None:
        return
    if preview.url is not None and not is_web_address(preview.url):
        yield Problem("link_preview.url", preview.url, "must be an http:// or https:// address")
    if preview.prefer_small_media and preview.prefer_large_media:
        yield Problem("link_preview.prefer_small_media", True, "cannot be combined with prefer_large_media")


def _check_album(album: Album) -> Iterator[Problem]:
    if not 2 <= len(album.items) <= 10:
        yield Problem("items", len(album.items), "an album must have 2 to 10 items")
    used = {kinds.kind_of(item) for item in album.items}
    if not any(used <= mix for mix in _ALBUM_MIXES):
        remedy = "photos and videos may be mixed; audio and documents each need an album of their own"
        yield Problem("items", sorted(used), remedy)


def _check_poll(poll: Poll) -> Iterator[Problem]:
    yield from _check_size("question", poll.question, 300)
    if not 2 <= len(poll.options) <= 12:
        yield Problem("options", len(poll.options), "a poll must have 2 to 12 options")
    for i, option in enumerate(poll.options):
        yield from _check_size(f"options[{i}]", option, 100)
        if option in poll.options[:i]:
            yield Problem(f"options[{i}]", option, "is the same as an option before it")
    if poll.open_period is not None and poll.close_date is not None:
        yield Problem("close_date", poll.close_date, "cannot be combined with open_period")
    yield from _check_quiz(poll)


def _check_quiz(poll: Poll) -> Iterator[Problem]:
    correct = poll.correct_option_id
    if poll.type == "quiz":
        if correct is None or not 0 <= correct < len(poll.options):
            yield Problem("correct_option_id", correct, f"must be 0 to {len(poll.options) - 1} for a quiz")
        if poll.allows_multiple_answers:
            yield Problem("allows_multiple_answers", True, "must be left out for a quiz")
        yield from _check_explanation(poll)
        return
    for name in ("correct_option_id", "explanation"):
        if getattr(poll, name) is not None:
            yield Problem(name, getattr(poll, name), 'is for a quiz only; set "type": "quiz" or leave it out')


def _check_explanation(poll: Poll) -> Iterator[Problem]:
    if poll.explanation is None:
        return
    try:
        mode = poll.parse_mode
        shown = PARSERS[mode.lower()](poll.explanation).text if mode else poll.explanation
    except MarkupError as error:
        yield Problem(
            "explanation", poll.explanation, f"Telegram cannot read it as {poll.parse_mode}: {error}"
        )
        return
    if utf16_length(shown.strip()) > 200 or shown.strip().count("\n") > 2:
        yield Problem("explanation", poll.explanation, "must have at most 200 characters and 2 line breaks")


def _check_size(field: str, text: str, limit: int) -> Iterator[Problem]:
    length = utf16_length(text.strip())
    if not 0 < length <= limit:
        yield Problem(field, text, f"has {length} characters; must have 1 to {limit}")


def _check_source(content: Copy | Forward) -> Iterator[Problem]:
    chat = content.from_chat_id
    if chat == 0 or (isinstance(chat, str) and not (chat.startswith("@") and len(chat) > 1)):
        yield Problem("from_chat_id", chat, "must be the number of a chat, or @username of a public one")
    ids = content.message_ids
    if len(ids) > MAX_MESSAGES_AT_ONCE:
        yield Problem("message_ids", len(ids), f"at most {MAX_MESSAGES_AT_ONCE} messages can be sent at once")
    if any(later <= earlier for earlier, later in pairwise(ids)):
        yield Problem("message_ids", list(ids), "must be in increasing order, each once")
    if any(number <= 0 for number in (*ids, content.message_id or 1)):
        yield Problem(
            "message_ids" if ids else "message_id", content.message_id or list(ids), "must be positive"
        )
    yield from _check_single_only(content)


def _check_single_only(content: Copy | Forward) -> Iterator[Problem]:
    """Telegram's methods for several messages at once have fewer options than those for one."""
    names = ("caption", "keyboard", "show_caption_above_media", "message_effect_id")
    if not content.message_ids:
        if getattr(content, "remove_caption", False):
            yield Problem(
                "remove_caption", True, 'works with message_ids only; for one message set "caption": ""'
            )
        return
    for name in names:
        if getattr(content, name, None) not in (None, False, ()):
            given = to_builtins(getattr(content, name))
            yield Problem(name, given, "is for one message_id only; Telegram has no such option for several")


def _check_live(location: kinds.Location) -> Iterator[Problem]:
    period = location.live_period
    if period is not None and not 60 <= period <= 86_400 and period != _LIVE_FOREVER:
        yield Problem("live_period", period, f"must be 60 to 86400 seconds, or {_LIVE_FOREVER} for ever")


def _check_contact(contact: kinds.Contact) -> Iterator[Problem]:
    yield from _check_filled(contact, "phone_number", "first_name")
    if contact.vcard is not None and len(contact.vcard.encode()) > 2048:
        yield Problem(
            "vcard", contact.vcard, f"has {len(contact.vcard.encode())} bytes; at most 2048 are allowed"
        )


def _check_filled(content: Content, *names: str) -> Iterator[Problem]:
    for name in names:
        if not getattr(content, name).strip():
            yield Problem(name, getattr(content, name), "must not be empty")


def _check_paid(content: Content, paid: bool) -> Iterator[Problem]:
    if paid and isinstance(content, Forward):
        yield Problem(
            "paid", True, "Telegram cannot forward as a paid broadcast; use copy, or send without paid"
        )
    elif paid and isinstance(content, Copy) and content.message_ids:
        remedy = "Telegram cannot copy several messages as a paid broadcast; copy one, or send without paid"
        yield Problem("paid", True, remedy)
