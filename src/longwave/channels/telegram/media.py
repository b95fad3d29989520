"""References to files: known to Telegram already (file_id), on the web (url) or on this machine (path)."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from longwave.channels.telegram.links import checked_link
from longwave.core.errors import Problem

MEGABYTE = 1 << 20
MAX_UPLOAD = 50 * MEGABYTE
MAX_PHOTO = 10 * MEGABYTE
MAX_THUMBNAIL = 200 * 1024
_FILE_ID = re.compile(r"[A-Za-z0-9_-]+")
_NOT_A_NAME = re.compile(r"\W+")


class Media(Struct, frozen=True, omit_defaults=True):
    """One file, by exactly one of its three names."""

    file_id: str | None = None
    url: str | None = None
    path: str | None = None


def media_from_text(text: str) -> dict[str, str]:
    """A plain string is an address on the web, or else a file_id."""
    return {"url": text} if text[:8].lower().startswith(("http://", "https://")) else {"file_id": text}


def one_name(media: Media) -> tuple[str, object, str] | None:
    """A media reference has exactly one name; broken: (field, value, remedy)."""
    given = {
        name: getattr(media, name) for name in ("file_id", "url", "path") if getattr(media, name) is not None
    }
    if len(given) != 1:
        return "", given, "must have exactly one of file_id, url, path"
    return None


def attach_name(field: str) -> str:
    """The multipart part that carries the local file of `field`: `items[0].media` → `items_0_media`."""
    return _NOT_A_NAME.sub("_", field).strip("_")


def reference(media: Media, field: str) -> str:
    """What a Bot API parameter says for this file."""
    return media.file_id or media.url or f"attach://{attach_name(field)}"


def check_media(media: Media, field: str, *, limit: int = MAX_UPLOAD) -> Iterator[Problem]:
    """What is wrong with the reference itself; a file on this machine is looked at."""
    if media.file_id is not None and not _FILE_ID.fullmatch(media.file_id):
        remedy = 'is neither an https:// URL nor a file_id; write {"path": "…"} for a file on this machine'
        yield Problem(field, media.file_id, remedy)
    if media.url is not None and not is_web_address(media.url):
        yield Problem(f"{field}.url", media.url, "must be an http:// or https:// URL")
    if media.path is not None:
        yield from _check_file(media.path, f"{field}.path", limit)


def is_web_address(url: str, *, only_https: bool = False) -> bool:
    """Whether Telegram would accept it as a link to the web."""
    schemes = ("https://",) if only_https else ("http://", "https://")
    return url[:8].lower().startswith(schemes) and bool(checked_link(url))


def _check_file(path: str, field: str, limit: int) -> Iterator[Problem]:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        yield Problem(field, path, "there is no such file; write a path that exists on this machine")
        return
    if not stat.S_ISREG(found.st_mode):
        yield Problem(field, path, "is not a file")
    elif not os.access(path, os.R_OK):
        yield Problem(field, path, "cannot be read; allow this user to read it")
    elif not found.st_size:
        yield Problem(field, path, "is empty; Telegram refuses empty files")
    elif found.st_size > limit:
        size = f"{found.st_size / MEGABYTE:.1f} MB"
        yield Problem(field, path, f"has {size}; Telegram takes at most {_megabytes(limit)} here")


def _megabytes(limit: int) -> str:
    return f"{limit // MEGABYTE} MB" if limit >= MEGABYTE else f"{limit // 1024} kB"
