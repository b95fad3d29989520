"""A broadcast's content: from JSON and back, checked, rendered, and turned into a request.

    content = parse({"kind": "photo", "photo": {"path": "spring.jpg"}, "caption": "Hello {{ first_name }}"})
    problems = check(content)
    method(content), params(content)          # sendPhoto, {"photo": "attach://photo", "caption": …}

`kinds.py` lists what every kind has. A field inside a content is named by its dotted path (`caption`,
`items[0].media`, `keyboard[0][1].url`) everywhere: in problems, templates, local files and file ids.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from longwave.channels.telegram import keyboard, kinds
from longwave.channels.telegram.checks import check, check_rendered
from longwave.channels.telegram.kinds import KINDS, Album, Content, medias
from longwave.channels.telegram.media import Media, attach_name, media_from_text, one_name
from longwave.channels.telegram.request import method, params, weight
from longwave.channels.telegram.results import file_ids, message_ids
from longwave.channels.telegram.schema import Builder, Coerce, Rules
from longwave.channels.telegram.templates import fillable, templates, with_values
from longwave.core.errors import InvalidInput

__all__ = [
    "Content",
    "attach_name",
    "check",
    "check_rendered",
    "file_ids",
    "local_files",
    "message_ids",
    "method",
    "params",
    "parse",
    "parse_mode_of",
    "templates",
    "to_json",
    "weight",
    "with_file_ids",
    "with_rendered",
]

_COERCE: Coerce = {
    Media: media_from_text,
    keyboard.WebApp: lambda text: {"url": text},
    keyboard.LoginUrl: lambda text: {"url": text},
    keyboard.CopyText: lambda text: {"text": text},
}
_RULES: Rules = {
    Media: one_name,
    keyboard.Button: keyboard.one_action,
    kinds.Copy: kinds.one_source,
    kinds.Forward: kinds.one_source,
}


def parse(data: Mapping[str, object]) -> Content:
    """The content that `data` describes. Raises InvalidInput with every problem that was found."""
    builder = Builder(coerce=_COERCE, rules=_RULES)
    content = builder.tagged(KINDS, data)
    if content is None:
        raise InvalidInput(*builder.problems)
    return content


def to_json(content: Content) -> dict[str, Any]:
    """Plain data that `parse` turns into the same content again; defaults are left out."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(content))
    return plain


def with_rendered(content: Content, values: Mapping[str, str]) -> Content:
    """`content` with rendered texts in place of its templates. Raises KeyError for a field without text."""
    unknown = values.keys() - dict(fillable(content)).keys()
    if unknown:
        raise KeyError(*sorted(unknown))
    filled: Content = with_values(content, values)
    return filled


def parse_mode_of(content: Content, field: str) -> str | None:
    """The parse mode that the text in `field` goes through, or None: what inserted values are escaped for."""
    if field in ("text", "caption"):
        return getattr(content, "parse_mode", None)
    if isinstance(content, Album) and field.startswith("items["):
        return content.items[int(field[len("items[") : field.index("]")])].parse_mode
    return None


def local_files(content: Content) -> dict[str, Path]:
    """Dotted field → path, for every file that has to be uploaded from this machine."""
    return {field: Path(media.path) for field, media in medias(content).items() if media.path is not None}


def with_file_ids(content: Content, file_ids: Mapping[str, str]) -> Content:
    """`content` with files that Telegram has already. Their thumbnails go: they count only in an upload."""
    values: dict[str, object] = {}
    known = medias(content)
    for field, file_id in file_ids.items():
        if field not in known:
            raise KeyError(field)
        values[field] = Media(file_id=file_id)
        thumbnail = f"{field.rpartition('.')[0]}.thumbnail".lstrip(".")
        if thumbnail in known and not field.endswith("cover"):
            values[thumbnail] = None
    changed: Content = with_values(content, values)
    return changed
