"""What a Bot API result says: the ids of the messages that were sent, and of the files that were uploaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from longwave.channels.telegram.kinds import Album, Content, kind_of, medias

# Telegram files an upload under what it turns out to be: a video without sound comes back as an animation.
_FOUND_UNDER = ("document", "video", "animation", "audio", "voice", "video_note", "sticker")


def message_ids(result: object) -> list[int]:
    """The ids in a Message or MessageId, or in a list of either."""
    messages = result if isinstance(result, Sequence) else [result]
    ids = [message.get("message_id") for message in messages if isinstance(message, Mapping)]
    return [number for number in ids if isinstance(number, int)]


def file_ids(result: object, content: Content) -> dict[str, str]:
    """Dotted field → file_id of the local files that this send uploaded. Thumbnails cannot be used again."""
    messages = result if isinstance(result, Sequence) else [result]
    found: dict[str, str] = {}
    for field, media in medias(content).items():
        if media.path is None or field.endswith("thumbnail"):
            continue
        kind, index = _place(content, field)
        message = messages[index] if index < len(messages) else None
        if isinstance(message, Mapping):
            file_id = _cover_id(message) if field.endswith("cover") else _file_id(message, kind)
            if file_id:
                found[field] = file_id
    return found


def _place(content: Content, field: str) -> tuple[str, int]:
    """The kind of the file, and which message of the result shows it."""
    if not isinstance(content, Album):
        return kind_of(content), 0
    index = int(field[len("items[") : field.index("]")])
    return kind_of(content.items[index]), index


def _file_id(message: Mapping[str, Any], kind: str) -> str | None:
    if kind == "photo":
        return _largest(message.get("photo"))
    for name in (kind, *_FOUND_UNDER):
        file = message.get(name)
        if isinstance(file, Mapping) and isinstance(file.get("file_id"), str):
            return str(file["file_id"])
    return None


def _cover_id(message: Mapping[str, Any]) -> str | None:
    video = message.get("video")
    return _largest(video.get("cover")) if isinstance(video, Mapping) else None


def _largest(sizes: object) -> str | None:
    """The file_id of the largest of several sizes of a picture."""
    known = [size for size in sizes if isinstance(size, Mapping)] if isinstance(sizes, Sequence) else []
    if not known:
        return None
    largest = max(known, key=lambda size: (size.get("width") or 0) * (size.get("height") or 0))
    file_id = largest.get("file_id")
    return file_id if isinstance(file_id, str) else None
