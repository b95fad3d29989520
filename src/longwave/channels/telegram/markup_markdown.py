"""Telegram's two Markdowns. Follows `parse_markdown_v2` and `parse_markdown` of TDLib, errors included."""

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
from longwave.channels.telegram.links import checked_link, link_custom_emoji_id, link_date, link_user_id

_SPECIAL = re.compile(r"[_*\[\]()~`>#+\-=|{}.!\n\\]")
_SPECIAL_IN_CODE = re.compile(r"[`\\]")
_LEGACY_SPECIAL = re.compile(r"[_*`\[\\]")
# The parsers of Telegram run over a C string: the end of the text is a NUL, and a NUL counts as a space.
_LANGUAGE = re.compile(r"[^ \t\r\n\0\v`]*")
_LINE_BREAK = re.compile(r"\r\n|\n\r|\n|\r")
_CODE = ("code", "pre")
_WORDS = {
    "bold": "Bold",
    "italic": "Italic",
    "underline": "Underline",
    "strikethrough": "Strikethrough",
    "spoiler": "Spoiler",
    "code": "Code",
    "pre": "Pre",
    "text_link": "TextUrl",
    "custom_emoji": "CustomEmoji",
    "blockquote": "BlockQuote",
}
_MARK = {
    "bold": "*",
    "underline": "__",
    "strikethrough": "~",
    "spoiler": "||",
    "code": "`",
    "pre": "```",
    "text_link": "]",
    "custom_emoji": "]",
}
_STARTS = (
    ("__", "underline"),
    ("_", "italic"),
    ("*", "bold"),
    ("~", "strikethrough"),
    ("||", "spoiler"),
    ("![", "custom_emoji"),
    ("[", "text_link"),
    ("```", "pre"),
    ("`", "code"),
)
_LEGACY = {"_": "italic", "*": "bold", "[": "text_link", "`": "code"}


def parse_markdown_v2(text: str) -> Parsed:
    """Text and entities of a message sent with parse_mode "MarkdownV2". Raises MarkupError in its words."""
    if _SPECIAL.search(text) is None:
        return Parsed(text)
    return _MarkdownV2(text).parsed()


class _Open(NamedTuple):
    """An entity that has begun and still waits for its end."""

    type: str
    language: str | None
    offset: int
    begin: int
    first_piece: int

    @property
    def word(self) -> str:
        return "PreCode" if self.language else _WORDS[self.type]


class _MarkdownV2:
    def __init__(self, text: str) -> None:
        self.text = text + "\0\0\0"
        self.end = len(text)
        self.pieces: list[str] = []
        self.offset = 0
        self.open: list[_Open] = []
        self.entities: list[Entity] = []
        self.in_quote = False
        self.can_quote = True

    def parsed(self) -> Parsed:
        at = 0
        while True:
            in_code = self.open and self.open[-1].type in _CODE
            found = (_SPECIAL_IN_CODE if in_code else _SPECIAL).search(self.text, at)
            if found is None:
                break
            self._plain(self.text[at : found.start()])
            at = self._special(found.start())
        self._plain(self.text[at : self.end])
        self._finish()
        return Parsed("".join(self.pieces), in_order(self.entities))

    def _add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.offset += utf16_length(piece)

    def _plain(self, piece: str) -> None:
        if piece:
            self._add(piece)
            if piece.strip("\r"):
                self.can_quote = False

    def _special(self, at: int) -> int:
        if self.text[at] == "\\":
            return self._escape(at)
        if self.open:
            if self.in_quote and self.text[at] == "\n" and self.text[at + 1] != ">":
                return self._end_quote(at)
            if self._ends(self.open[-1].type, at):
                return self._end(at)
        return self._begin(at)

    def _escape(self, at: int) -> int:
        escaped = self.text[at + 1]
        if not "\0" < escaped <= "~":
            self._plain("\\")
            return at + 1
        self._add(escaped)
        if escaped != "\r":
            self.can_quote = escaped == "\n"
        return at + 2

    def _ends(self, kind: str, at: int) -> bool:
        if kind == "italic":
            return self.text[at] == "_" and self.text[at + 1] != "_"
        mark = _MARK.get(kind)
        return mark is not None and self.text.startswith(mark, at)

    def _begin(self, at: int) -> int:
        mark = self.text[at]
        if mark == "\n":
            self._add("\n")
            self.can_quote = True
            return at + 1
        if mark == ">" and self.can_quote:
            if not self.in_quote:
                self.in_quote = True
                self._open("blockquote", at)
            return at + 1
        for start, kind in _STARTS:
            if self.text.startswith(start, at):
                return self._begin_pre(at) if kind == "pre" else self._open(kind, at) + len(start)
        raise MarkupError(f"Character '{mark}' is reserved and must be escaped with the preceding '\\'")

    def _open(self, kind: str, at: int, language: str | None = None) -> int:
        self.open.append(_Open(kind, language, self.offset, at, len(self.pieces)))
        return at

    def _begin_pre(self, at: int) -> int:
        language, after = _pre_language(self.text, at + 3, self.end)
        self._open("pre", at, language)
        return after

    def _unfinished(self, opened: _Open) -> MarkupError:
        where = byte_offset(self.text, opened.begin)
        return MarkupError(f"Can't find end of {opened.word} entity at byte offset {where}")

    def _end(self, at: int) -> int:
        opened = self.open[-1]
        if opened.type == "custom_emoji":
            after = self._end_emoji(opened, at)
        elif opened.type == "text_link":
            after = self._end_link(opened, at)
        else:
            after = at + len(_MARK.get(opened.type, "_"))
            self._close(opened, opened.type, language=opened.language)
        self.open.pop()
        return after

    def _close(
        self,
        opened: _Open,
        kind: str,
        *,
        url: str | None = None,
        user_id: int | None = None,
        language: str | None = None,
        custom_emoji_id: str | None = None,
    ) -> None:
        length = self.offset - opened.offset
        if length:
            self.entities.append(
                Entity(
                    kind,
                    opened.offset,
                    length,
                    url=url,
                    user_id=user_id,
                    language=language,
                    custom_emoji_id=custom_emoji_id,
                )
            )

    def _end_link(self, opened: _Open, at: int) -> int:
        if self.text[at + 1] == "(":
            url, at = self._address(at + 2)
        else:
            url = "".join(self.pieces[opened.first_piece :])
        if user_id := link_user_id(url):
            self._close(opened, "text_mention", user_id=user_id)
        elif checked := checked_link(url):
            self._close(opened, "text_link", url=checked)
        return at + 1

    def _end_emoji(self, opened: _Open, at: int) -> int:
        if self.text[at + 1] != "(":
            raise MarkupError("The entity must contain a tg://emoji or tg://time URL")
        url, at = self._address(at + 2)
        if emoji := link_custom_emoji_id(url):
            self._close(opened, "custom_emoji", custom_emoji_id=emoji)
        elif date := link_date(url):
            self._close_date(opened, *date)
        else:
            raise MarkupError("Invalid tg://emoji or tg://time URL specified")
        return at + 1

    def _close_date(self, opened: _Open, unix_time: int, date_format: str) -> None:
        length = self.offset - opened.offset
        if length:
            self.entities.append(
                Entity(
                    "date_time",
                    opened.offset,
                    length,
                    unix_time=unix_time,
                    date_time_format=date_format or None,
                )
            )

    def _address(self, begin: int) -> tuple[str, int]:
        """The address that starts at `begin`, unescaped, and where its closing bracket is."""
        pieces = []
        at = begin
        while at < self.end and self.text[at] != ")":
            if self.text[at] == "\\" and "\0" < self.text[at + 1] <= "~":
                at += 1
            pieces.append(self.text[at])
            at += 1
        if self.text[at] != ")":
            raise MarkupError(f"Can't find end of a URL at byte offset {byte_offset(self.text, begin)}")
        return "".join(pieces), at

    def _end_quote(self, at: int) -> int:
        """A line break without ">" behind it ends a quotation; `||` before it makes that one expandable."""
        kind = "blockquote"
        opened = self.open[-1]
        if opened.type != "blockquote":
            if not (opened.type == "spoiler" and self._is_just_before(opened, at)):
                raise self._unfinished(opened)
            self.open.pop()
            kind = "expandable_blockquote"
            if self.open[-1].type != "blockquote":
                raise self._unfinished(self.open[-1])
        self._add("\n")
        self.can_quote = True
        self.in_quote = False
        self._close(self.open.pop(), kind)
        return at + 1

    def _is_just_before(self, opened: _Open, at: int) -> bool:
        if opened.begin == at - 2:
            return True
        return opened.begin == at - 3 and bool(self.pieces) and self.pieces[-1].endswith("\r")

    def _finish(self) -> None:
        """The end of the text ends a quotation too, and is an error inside anything else."""
        if self.in_quote:
            kind = "blockquote"
            if self.open[-1].type == "spoiler" and self.open[-1].begin == self.end - 2:
                self.open.pop()
                kind = "expandable_blockquote"
            if self.open[-1].type == "blockquote":
                self._close(self.open.pop(), kind)
        if self.open:
            raise self._unfinished(self.open[-1])


def _pre_language(text: str, at: int, end: int) -> tuple[str | None, int]:
    """The language named behind the backticks, and where the code begins: behind one line break."""
    found = _LANGUAGE.match(text, at)
    after = found.end() if found else at
    language = None
    if after > at and after < end and text[after] != "`":
        language, at = text[at:after], after
    line_break = _LINE_BREAK.match(text, at)
    return language, line_break.end() if line_break else at


def parse_markdown(text: str) -> Parsed:
    """Text and entities of a message sent with the legacy parse_mode "Markdown", where nothing nests."""
    if _LEGACY_SPECIAL.search(text) is None:
        return Parsed(text)
    return _LegacyMarkdown(text).parsed()


class _LegacyMarkdown:
    def __init__(self, text: str) -> None:
        self.text = text + "\0\0\0\0"
        self.end = len(text)
        self.pieces: list[str] = []
        self.offset = 0
        self.entities: list[Entity] = []

    def parsed(self) -> Parsed:
        at = 0
        while found := _LEGACY_SPECIAL.search(self.text, at):
            self._add(self.text[at : found.start()])
            at = self._escape(found.start()) if found[0] == "\\" else self._entity(found.start())
        self._add(self.text[at : self.end])
        return Parsed("".join(self.pieces), tuple(self.entities))

    def _add(self, piece: str) -> None:
        if piece:
            self.pieces.append(piece)
            self.offset += utf16_length(piece)

    def _escape(self, at: int) -> int:
        escaped = self.text[at + 1] in "_*`["
        self._add(self.text[at + escaped])
        return at + 1 + escaped

    def _entity(self, begin: int) -> int:
        kind, mark, language, at = _LEGACY[self.text[begin]], self.text[begin], None, begin + 1
        if self.text.startswith("```", begin):
            kind, mark = "pre", "```"
            language, at = _pre_language(self.text, begin + 3, self.end)
        end = self.text.find("]" if mark == "[" else mark, at, self.end)
        if end < 0:
            where = byte_offset(self.text, begin)
            raise MarkupError(f"Can't find end of the entity starting at byte offset {where}")
        offset = self.offset
        self._add(self.text[at:end])
        if mark != "[":
            self._close(Entity(kind, offset, self.offset - offset, language=language))
            return end + len(mark)
        return self._link(offset, self.text[at:end], end)

    def _close(self, entity: Entity) -> None:
        if entity.length:
            self.entities.append(entity)

    def _link(self, offset: int, label: str, end: int) -> int:
        url, after = label, end + 1
        # An empty label is no entity at all, and then Telegram leaves the address behind it in the text.
        if label and self.text[after] == "(":
            close = self.text.find(")", after, self.end)
            close = self.end if close < 0 else close
            url, after = self.text[after + 1 : close], close + 1
        if user_id := link_user_id(url):
            self._close(Entity("text_mention", offset, self.offset - offset, user_id=user_id))
        elif checked := checked_link(url):
            self._close(Entity("text_link", offset, self.offset - offset, url=checked))
        return after
