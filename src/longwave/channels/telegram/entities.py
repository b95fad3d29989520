"""The values that parsed markup turns into, counted the way Telegram counts: in UTF-16 code units."""

from msgspec import Struct


class MarkupError(Exception):
    """Markup that Telegram would refuse.

    The message is what Telegram says after "Bad Request: can't parse entities: ". Byte offsets in it are
    offsets into the UTF-8 text, as Telegram counts them.
    """


class Entity(Struct, frozen=True, omit_defaults=True):
    """A formatted stretch of text. `offset` and `length` are UTF-16 code units, `type` is the Bot API's word.

    `url` belongs to text_link, `user_id` to text_mention, `language` to pre, `custom_emoji_id` to
    custom_emoji, `unix_time` and `date_time_format` to date_time.
    """

    type: str
    offset: int
    length: int
    url: str | None = None
    user_id: int | None = None
    language: str | None = None
    custom_emoji_id: str | None = None
    unix_time: int | None = None
    date_time_format: str | None = None


class Parsed(Struct, frozen=True):
    """Text without its markup, and the entities the markup stood for, outermost first."""

    text: str
    entities: tuple[Entity, ...] = ()


# Telegram's own order of entities that cover the same stretch: a lower number contains a higher one.
_NESTING = {
    "blockquote": 0,
    "expandable_blockquote": 0,
    "pre": 11,
    "code": 20,
    "date_time": 30,
    "text_link": 49,
    "text_mention": 49,
    "bold": 90,
    "italic": 91,
    "underline": 92,
    "strikethrough": 93,
    "spoiler": 94,
    "custom_emoji": 99,
}


def in_order(entities: list[Entity]) -> tuple[Entity, ...]:
    """The entities sorted as Telegram returns them: by offset, the longer first, then by kind."""
    if len(entities) > 1:
        entities = sorted(entities, key=lambda e: (e.offset, -e.length, _NESTING[e.type]))
    return tuple(entities)


def utf16_length(text: str) -> int:
    """How many UTF-16 code units `text` has: Telegram's unit of length (an emoji counts 2)."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) >> 1


def byte_offset(text: str, index: int) -> int:
    """The offset in UTF-8 bytes of the character at `index`: what Telegram's parse errors count in."""
    return len(text[:index].encode("utf-8", "surrogatepass"))
