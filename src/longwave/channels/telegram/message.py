"""A content compiled into a request: JSON made once, with gaps for the chat and what templates fill in."""

import re
import secrets
from collections.abc import Mapping
from itertools import chain
from typing import Any

import orjson

from longwave.channels.base import Recipient, TemplateError
from longwave.channels.telegram import content as contents
from longwave.channels.telegram.content import Content
from longwave.channels.telegram.markup import ESCAPES
from longwave.channels.template import Template

_NUMBER = re.compile(r"-?[1-9][0-9]{0,18}")


class TelegramMessage:
    """Content ready to be sent to anybody. Not to be rendered by two threads at once.

    method: the Bot API's. has_source: it is copied or forwarded from a chat. is_source_read: a send of it has
    succeeded, so that chat can be read.
    """

    __slots__ = (
        "_gaps", "_head", "content", "has_source", "is_personal", "is_source_read", "method", "needs_upload",
        "paid", "templates", "weight",
    )  # fmt: skip

    def __init__(self, content: Content, *, paid: bool, media: Mapping[str, str]) -> None:
        local = contents.local_files(content)
        content = contents.with_file_ids(content, {field: media[field] for field in media if field in local})
        self.content = content
        self.paid = paid
        self.templates = compiled(content)
        self.is_personal = bool(self.templates)
        self.needs_upload = bool(contents.local_files(content))
        self.weight = contents.weight(content)
        self.method = contents.method(content)
        self.has_source = hasattr(content, "from_chat_id")
        self.is_source_read = False
        self._head, self._gaps = _skeleton(content, self.templates, paid=paid)

    def render(self, recipient: Recipient) -> bytes:
        """The request's body for one recipient. Raises TemplateError."""
        body = b'{"chat_id":' + chat_id(recipient.address) + self._head
        if not self._gaps:
            return body
        fields = recipient.fields
        return body + b"".join(
            chain.from_iterable((_string(template.render(fields)), after) for template, after in self._gaps)
        )

    def filled(self, recipient: Recipient) -> Content:
        """The content with its templates rendered for one recipient. Raises TemplateError."""
        texts = {field: template.render(recipient.fields) for field, template in self.templates.items()}
        return contents.with_rendered(self.content, texts)


def compiled(content: Content) -> dict[str, Template]:
    """Every template of the content by its field. Raises TemplateError naming the field."""
    found: dict[str, Template] = {}
    for field, source in contents.templates(content).items():
        try:
            found[field] = Template(source, escape_of(content, field))
        except TemplateError as error:
            raise TemplateError(f"{field}: {error}") from None
    return found


def escape_of(content: Content, field: str) -> Any:
    """What makes a value harmless in that field: the escaping of its parse mode, or None."""
    return ESCAPES.get((contents.parse_mode_of(content, field) or "").lower())


def chat_id(address: str) -> bytes:
    """An address as JSON: a number, or the text of an @name."""
    return address.encode() if _NUMBER.fullmatch(address) else orjson.dumps(address)


def _string(text: str) -> bytes:
    return orjson.dumps(text)


def _skeleton(
    content: Content, templates: Mapping[str, Template], *, paid: bool
) -> tuple[bytes, tuple[tuple[Template, bytes], ...]]:
    """The JSON after the chat id, up to the first gap; and each template with the JSON that follows it."""
    marks = {f"gap-{secrets.token_hex(16)}": field for field in templates}
    holed = contents.with_rendered(content, {field: mark for mark, field in marks.items()})
    params = orjson.dumps(contents.params(holed, paid=paid))
    tail = b"," + params[1:] if len(params) > 2 else b"}"
    if not marks:
        return tail, ()
    pieces = re.split(b'"(' + "|".join(marks).encode() + b')"', tail)
    gaps = zip(pieces[1::2], pieces[2::2], strict=True)
    return pieces[0], tuple((templates[marks[mark.decode()]], after) for mark, after in gaps)
