"""Telegram's HTML: tags become entities. Follows `parse_html` of TDLib, including the words of its errors."""

import re
from typing import NamedTuple

from longwave.channels.telegram.entities import (
    Entity,
    MarkupError,
    Parsed,
    byte_offset,
    in_order,
    utf16_length,
)
from longwave.channels.telegram.links import (
    ascii_lower,
    checked_link,
    custom_emoji_id,
    is_date_format,
    link_user_id,
)

_SPECIAL = re.compile(r"[<&]")
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]*)|#([0-9]*)|([A-Za-z]*));?")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
# The parser of Telegram runs over a C string: the end of the text is a NUL, and a NUL counts as a space.
_SPACE = " \t\r\n\0\v"
_TAG_NAME = re.compile(r"[^ \t\r\n\0\v>]*")
_BLANK = re.compile(r"[ \t\r\n\v]*")
_ATTRIBUTE_NAME = re.compile(r"[^ \t\r\n\0\v=>/\"']*")
_NAME_TOKEN = re.compile(r"[A-Za-z0-9.\-]*")
_INTEGER = re.compile(r"-?[0-9]*")
_SIMPLE = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
}
_TAGS = _SIMPLE.keys() | {"a", "code", "pre", "blockquote", "tg-emoji", "tg-time"}
# The attribute of each tag that means something. Any other one is allowed and ignored.
_MEANINGFUL = {"a": "href", "tg-emoji": "emoji-id", "tg-time": "format"}


class _Open(NamedTuple):
    """A start tag that still waits for its end tag."""

    tag: str
    argument: str
    date: int
    offset: int
    first_piece: int


class _Attribute(NamedTuple):
    name: str
    value: str | None
    end: int


def parse_html(text: str) -> Parsed:
    """Text and entities of a message sent with parse_mode "HTML". Raises MarkupError in Telegram's words."""
    if "<" not in text and "&" not in text:
        return Parsed(text)
    return _Html(text).parsed()


class _Html:
    def __init__(self, text: str) -> None:
        self.text = text + "\0\0"
        self.end = len(text)
        self.pieces: list[str] = []
        self.offset = 0
        self.open: list[_Open] = []
        self.entities: list[Entity] = []
        self.has_surrogate = False

    def parsed(self) -> Parsed:
        at = 0
        while found := _SPECIAL.search(self.text, at):
            self._add(self.text[at : found.start()])
            at = self._reference(found.start()) if found[0] == "&" else self._tag(found.start())
        self._add(self.text[at : self.end])
        if self.open:
            raise MarkupError(f'Can\'t find end tag corresponding to start tag "{self.open[-1].tag}"')
        if self.has_surrogate:
            raise MarkupError(
                "Text contains invalid Unicode characters after decoding HTML entities, "
                "check for unmatched surrogate code units"
            )
        return Parsed("".join(self.pieces), in_order([_without_code_language(e) for e in self.entities]))

    def _add(self, piece: str) -> None:
        if piece:
            self.pieces.append(piece)
            self.offset += utf16_length(piece)

    def _reference(self, at: int) -> int:
        decoded, after = _decode(self.text, at)
        self.has_surrogate |= "\ud800" <= decoded <= "\udfff"
        self._add(decoded)
        return after

    def _tag(self, begin: int) -> int:
        return self._end_tag(begin) if self.text[begin + 1] == "/" else self._start_tag(begin)

    def _at(self, index: int) -> str:
        return f"at byte offset {byte_offset(self.text, index)}"

    def _start_tag(self, begin: int) -> int:
        at = _span(_TAG_NAME, self.text, begin + 1)
        if self.text[at] == "\0":
            raise MarkupError(f"Unclosed start tag {self._at(begin)}")
        tag = ascii_lower(self.text[begin + 1 : at])
        if tag not in _TAGS:
            raise MarkupError(f'Unsupported start tag "{tag}" {self._at(begin)}')
        argument, date = "", 0
        while True:
            at = _span(_BLANK, self.text, at)
            if self.text[at] == ">":
                break
            attribute = self._attribute(tag, begin, at)
            at = attribute.end
            argument = _argument(tag, attribute, argument)
            if tag == "tg-time" and attribute.name == "unix":
                date = _lenient_int(attribute.value or "")
        if tag == "span" and argument != "spoiler":
            raise MarkupError(f'Tag "span" must have class "tg-spoiler" {self._at(begin)}')
        self.open.append(_Open(tag, argument, date, self.offset, len(self.pieces)))
        return at + 1

    def _attribute(self, tag: str, begin: int, at: int) -> _Attribute:
        after_name = _span(_ATTRIBUTE_NAME, self.text, at)
        name = self.text[at:after_name]
        if not name:
            raise MarkupError(f'Empty attribute name in the tag "{tag}" {self._at(begin)}')
        at = _span(_BLANK, self.text, after_name)
        if self.text[at] == "=":
            at = _span(_BLANK, self.text, at + 1)
            if self.text[at] != "\0":
                return _Attribute(name, *self._value(begin, at))
        if self.text[at] == "\0":
            raise MarkupError(f'Unclosed start tag "{tag}" {self._at(begin)}')
        return _Attribute(name, None, at)

    def _value(self, begin: int, at: int) -> tuple[str, int]:
        if self.text[at] in "'\"":
            value, after = self._quoted(at)
        else:
            after = _span(_NAME_TOKEN, self.text, at)
            value = ascii_lower(self.text[at:after])
            if self.text[after] not in _SPACE and self.text[after] != ">":
                raise MarkupError(f"Unexpected end of name token {self._at(at)}")
        if self.text[after] == "\0":
            raise MarkupError(f"Unclosed start tag {self._at(begin)}")
        return value, after

    def _quoted(self, at: int) -> tuple[str, int]:
        quote = self.text[at]
        at += 1
        pieces = []
        while self.text[at] not in (quote, "\0"):
            if self.text[at] == "&":
                decoded, at = _decode(self.text, at)
                pieces.append(decoded)
            else:
                pieces.append(self.text[at])
                at += 1
        return "".join(pieces), at + (self.text[at] == quote)

    def _end_tag(self, begin: int) -> int:
        if not self.open:
            raise MarkupError(f"Unexpected end tag {self._at(begin)}")
        at = _span(_TAG_NAME, self.text, begin + 2)
        tag = ascii_lower(self.text[begin + 2 : at])
        at = _span(_BLANK, self.text, at)
        if self.text[at] != ">":
            raise MarkupError(f"Unclosed end tag {self._at(begin)}")
        opened = self.open[-1]
        if tag and tag != opened.tag:
            expected = f'expected "</{opened.tag}>", found "</{tag}>"'
            raise MarkupError(f"Unmatched end tag {self._at(begin)}, {expected}")
        if self.offset > opened.offset:
            self._close(opened)
        self.open.pop()
        return at + 1

    def _close(self, opened: _Open) -> None:
        length = self.offset - opened.offset
        if opened.tag in _SIMPLE:
            self.entities.append(Entity(_SIMPLE[opened.tag], opened.offset, length))
        elif opened.tag == "a":
            self._close_link(opened, length)
        elif opened.tag in ("pre", "code"):
            self._close_code(opened, length)
        elif opened.tag == "blockquote":
            kind = "expandable_blockquote" if opened.argument else "blockquote"
            self.entities.append(Entity(kind, opened.offset, length))
        elif opened.tag == "tg-emoji":
            self._close_emoji(opened, length)
        else:
            self._close_time(opened, length)

    def _close_link(self, opened: _Open, length: int) -> None:
        url = opened.argument or "".join(self.pieces[opened.first_piece :])
        if user_id := link_user_id(url):
            self.entities.append(Entity("text_mention", opened.offset, length, user_id=user_id))
        elif checked := checked_link(url):
            self.entities.append(Entity("text_link", opened.offset, length, url=checked))

    def _close_code(self, opened: _Open, length: int) -> None:
        """`pre` and `code` around the very same text are one entity, in the language of the `code` tag."""
        inner = self.entities[-1] if self.entities else None
        if inner is None or (inner.offset, inner.length) != (opened.offset, length):
            inner = None
        language = opened.argument or None
        if opened.tag == "pre" and inner and inner.type == "code" and inner.language:
            self.entities[-1] = Entity("pre", opened.offset, length, language=inner.language)
        elif opened.tag == "code" and inner and inner.type == "pre" and not inner.language and language:
            self.entities[-1] = Entity("pre", opened.offset, length, language=language)
        else:
            self.entities.append(Entity(opened.tag, opened.offset, length, language=language))

    def _close_emoji(self, opened: _Open, length: int) -> None:
        emoji = custom_emoji_id(opened.argument)
        if emoji is None:
            raise MarkupError("Invalid custom emoji identifier specified")
        self.entities.append(Entity("custom_emoji", opened.offset, length, custom_emoji_id=emoji))

    def _close_time(self, opened: _Open, length: int) -> None:
        if not is_date_format(opened.argument):
            raise MarkupError("Invalid date format used")
        if opened.date > 0:
            date_format = opened.argument or None
            self.entities.append(
                Entity(
                    "date_time", opened.offset, length, unix_time=opened.date, date_time_format=date_format
                )
            )


def _span(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the stretch that `pattern` matches at `at` ends; `at` itself when it matches nothing."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _decode(text: str, at: int) -> tuple[str, int]:
    """What the reference at `at` stands for and where it ends; an unknown one is a plain "&"."""
    found = _REFERENCE.match(text, at)
    if found is None:
        return "&", at + 1
    hexadecimal, decimal, name = found.groups()
    if name is not None:
        decoded = _NAMED.get(name)
        return (decoded, found.end()) if decoded else ("&", at + 1)
    digits_end = found.end() - (found[0][-1] == ";")
    if digits_end - at >= 10:
        return "&", at + 1
    code = int(decimal or "0") if hexadecimal is None else int(hexadecimal or "0", 16)
    return (chr(code), found.end()) if 0 < code < 0x10FFFF else ("&", at + 1)


def _argument(tag: str, attribute: _Attribute, known: str) -> str:
    """What the tag's argument is after one more attribute."""
    name, value = attribute.name, attribute.value
    if tag == "blockquote" and name == "expandable":
        return "1"
    if value is None:
        return known
    if _MEANINGFUL.get(tag) == name:
        return value
    if tag == "code" and name == "class" and value.startswith("language-"):
        return value[9:]
    if tag == "span" and name == "class" and value.startswith("tg-"):
        return value[3:]
    return known


def _lenient_int(text: str) -> int:
    found = _INTEGER.match(text)
    digits = found[0] if found and len(found[0]) < 12 else ""
    number = int(digits) if digits.strip("-") else 0
    return number if number < 1 << 31 else 0


def _without_code_language(entity: Entity) -> Entity:
    """A `code` tag's language means something only inside `pre`."""
    if entity.type == "code" and entity.language:
        return Entity("code", entity.offset, entity.length)
    return entity
