"""Uploaded files and their ids. A file id belongs to one bot, as it does there."""

import hashlib
import itertools
from base64 import urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from longwave.testing.fake_telegram.answers import bad_request
from longwave.testing.fake_telegram.parameters import Params, Part, entity_too_large, whole_of

MAX_UPLOAD = 50 * 1024 * 1024
MAX_PHOTO = 10 * 1024 * 1024
MAX_DOWNLOAD = 20 * 1024 * 1024
CONTENT_KEPT = 64 * 1024 * 1024
"""Bytes of uploads kept for download; older ones keep their id and can still be sent."""

_PREFIX = {
    "photo": "AgACAgIAAxkBAAI",
    "video": "BAACAgIAAxkBAAI",
    "animation": "CgACAgIAAxkBAAI",
    "audio": "CQACAgIAAxkBAAI",
    "voice": "AwACAgIAAxkBAAI",
    "video_note": "DQACAgIAAxkBAAI",
    "document": "BQACAgIAAxkBAAI",
    "sticker": "CAACAgIAAxkBAAI",
}
_FOLDER = {"photo": "photos", "video": "videos", "audio": "music", "sticker": "stickers", "voice": "voice"}
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
# These are of their own kind; what was sent as one of the others may be sent as another of them.
_ALONE = frozenset({"photo", "sticker", "video_note", "voice"})


@dataclass(frozen=True, slots=True)
class File:
    """A file the bot's ids point to. `shape` is its part of a message, such as the PhotoSizes of a photo."""

    file_id: str
    kind: str
    unique_id: str
    size: int
    path: str
    shape: Any


class FileStore:
    """One bot's files."""

    def __init__(self, bot_id: int) -> None:
        self._bot_id = bot_id
        self._numbers = itertools.count(1)
        self._by_id: dict[str, File] = {}
        self._by_url: dict[tuple[str, str], File] = {}
        self._content: OrderedDict[str, bytes] = OrderedDict()
        self._content_size = 0

    def get(self, file_id: str) -> File | None:
        """The file with this id, if it is one of this bot's."""
        return self._by_id.get(file_id)

    def content(self, path: str) -> bytes | None:
        """The bytes for `/file/bot<token>/<path>`, while they are kept."""
        return self._content.get(path)

    def media(self, kind: str, params: Params, reference: Any, field: str, details: Params) -> File:
        """The file a parameter means: an upload, `attach://name`, an HTTP URL or a file id."""
        if isinstance(reference, str) and reference.startswith("attach://"):
            field = reference.removeprefix("attach://")
            reference = params.get(field)
        if isinstance(reference, Part):
            return self._uploaded(kind, reference, details)
        if not isinstance(reference, str) or not reference:
            raise bad_request(f"There is no {kind.replace('_', ' ')} in the request")
        if "://" in reference:
            return self._from_url(kind, reference, details)
        return self._known(kind, reference)

    def _known(self, kind: str, file_id: str) -> File:
        file = self._by_id.get(file_id)
        if file is None:
            raise bad_request("Wrong file identifier/HTTP URL specified")
        if file.kind != kind and (file.kind in _ALONE or kind in _ALONE):
            raise bad_request(f"Can't use file of type {_type_name(file.kind)} as {_type_name(kind)}")
        return file

    def _uploaded(self, kind: str, part: Part, details: Params) -> File:
        size = len(part.content)
        if not size:
            raise bad_request("File must be non-empty")
        if size > MAX_UPLOAD:
            raise entity_too_large()
        if kind == "photo":
            _check_photo(part.content)
        file = self._add(kind, part.name, part.mime, size, hashlib.sha256(part.content).digest(), details)
        self._keep(file.path, part.content)
        return file

    def _from_url(self, kind: str, url: str, details: Params) -> File:
        known = self._by_url.get((kind, url))
        if known is not None:
            return known
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or "." not in (parts.hostname or ""):
            raise bad_request("Wrong HTTP URL specified")
        name = parts.path.rpartition("/")[2] or "file"
        file = self._add(kind, name, _MIME.get(kind, "application/octet-stream"), 4096, url.encode(), details)
        self._by_url[kind, url] = file
        return file

    def _add(self, kind: str, name: str, mime: str, size: int, seed: bytes, details: Params) -> File:
        number = next(self._numbers)
        unique = urlsafe_b64encode(hashlib.sha256(seed).digest()[:9]).decode()
        file_id = self._new_id(kind, number)
        extension = name.rpartition(".")[2] if "." in name else "bin"
        path = f"{_FOLDER.get(kind, 'documents')}/file_{number}.{extension}"
        shape: Any = {
            "file_id": file_id,
            "file_unique_id": unique,
            "file_size": size,
            **_particulars(kind, name, mime, details),
        }
        if kind == "photo":
            shape = self._photo_sizes(shape, number)
        file = File(file_id, kind, unique, size, path, shape)
        self._by_id[file_id] = file
        if kind == "photo":
            self._by_id.update({smaller["file_id"]: file for smaller in shape[:-1]})
        return file

    def _new_id(self, kind: str, number: int) -> str:
        tail = hashlib.sha256(f"{self._bot_id}/{kind}/{number}".encode()).digest()
        return _PREFIX[kind] + urlsafe_b64encode(tail).decode().rstrip("=")

    def _photo_sizes(self, largest: Params, number: int) -> list[Params]:
        sizes = [("s", 90, 67), ("m", 320, 240)]
        smaller = [
            {
                "file_id": largest["file_id"][:-3] + letter + largest["file_id"][-2:],
                "file_unique_id": largest["file_unique_id"][:-1] + letter,
                "file_size": min(largest["file_size"], width * height // 10),
                "width": width,
                "height": height,
            }
            for letter, width, height in sizes
        ]
        return [*smaller, largest]

    def _keep(self, path: str, content: bytes) -> None:
        self._content[path] = content
        self._content_size += len(content)
        while self._content_size > CONTENT_KEPT and len(self._content) > 1:
            _, oldest = self._content.popitem(last=False)
            self._content_size -= len(oldest)


_MIME = {"video": "video/mp4", "animation": "video/mp4", "audio": "audio/mpeg", "voice": "audio/ogg"}
_DURATION = frozenset({"video", "animation", "audio", "voice", "video_note"})
_NAMED = frozenset({"video", "animation", "audio", "document"})


def _particulars(kind: str, name: str, mime: str, details: Params) -> Params:
    """The fields of a kind of media beyond id and size; `details` are the request's own (width, title, …)."""
    found: Params = {}
    if kind in ("photo", "video", "animation"):
        found |= {"width": whole_of(details, "width") or 1280, "height": whole_of(details, "height") or 960}
    if kind == "sticker":
        found |= {"width": 512, "height": 512, "type": "regular", "is_animated": False, "is_video": False}
    if kind == "video_note":
        found["length"] = whole_of(details, "length") or 240
    if kind in _DURATION:
        found["duration"] = whole_of(details, "duration") or 1
    if kind in _NAMED:
        found |= {"file_name": name, "mime_type": _MIME.get(kind, mime)}
    if kind == "voice":
        found["mime_type"] = _MIME[kind]
    if kind == "audio":
        found |= {key: str(details[key]) for key in ("title", "performer") if details.get(key)}
    return found


def _check_photo(content: bytes) -> None:
    if len(content) > MAX_PHOTO:
        raise bad_request(
            f"file of size {len(content)} bytes is too big for a photo; the maximum size is {MAX_PHOTO} bytes"
        )
    if not content.startswith(_IMAGES):
        raise bad_request("IMAGE_PROCESS_FAILED")


def _type_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))
