"""Telegram's markups: parsed as Telegram does it, and escaping for text that is not meant as markup.

Messages may be written in HTML or MarkdownV2. The legacy "Markdown" is only parsed, for the fake Telegram: inside
its entities nothing can be escaped, so a contact's name with an underscore would break the message.
"""

import re
from collections.abc import Callable

from longwave.channels.telegram.entities import Entity, MarkupError, Parsed, utf16_length
from longwave.channels.telegram.markup_html import parse_html
from longwave.channels.telegram.markup_markdown import parse_markdown, parse_markdown_v2

__all__ = [
    "ESCAPES",
    "PARSERS",
    "Entity",
    "MarkupError",
    "Parsed",
    "escape_html",
    "escape_markdown_v2",
    "parse_html",
    "parse_markdown",
    "parse_markdown_v2",
    "utf16_length",
]

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
_RESERVED = re.compile(r"([_*\[\]()~`>#+\-=|{}.!\\])")


def escape_html(text: str) -> str:
    """`text` so that parse_mode "HTML" shows it as it stands, also inside an attribute in double quotes."""
    return text.translate(_HTML)


def escape_markdown_v2(text: str) -> str:
    """`text` so that parse_mode "MarkdownV2" shows it as it stands."""
    return _RESERVED.sub(r"\\\1", text)


PARSERS: dict[str, Callable[[str], Parsed]] = {
    "html": parse_html,
    "markdownv2": parse_markdown_v2,
}
"""Parser by parse mode in lower case; Telegram does not care about the case of a parse mode."""

ESCAPES: dict[str, Callable[[str], str]] = {
    "html": escape_html,
    "markdownv2": escape_markdown_v2,
}
"""Escaping by parse mode in lower case."""
