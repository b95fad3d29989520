"""A method's parameters out of a request: JSON, a form, a multipart form, the query string; and reading them.

Forms carry everything as text, JSON its own types, and clients mix both (a keyboard may be an object or its
JSON text), so every parameter is read through one of the functions here.
"""

import math
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from longwave.testing.fake_telegram.answers import Refusal, bad_request
from longwave.testing.fake_telegram.http import Request

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A file in a multipart form."""

    name: str
    content: bytes
    mime: str


_BOUNDARY = re.compile(rb'(?i)boundary="?([^";,]+)"?')
_NAME = re.compile(rb'(?i)[ ;]name="((?:[^"\\]|\\.)*)"')
_FILENAME = re.compile(rb'(?i)filename="((?:[^"\\]|\\.)*)"')
_TYPE = re.compile(rb"(?i)content-type: *([^\r\n;]+)")


def read_parameters(request: Request, query: bytes) -> Params:
    """Every parameter by name; uploaded files are `Part`s."""
    params: Params = dict(parse_qsl(query.decode(), keep_blank_values=True)) if query else {}
    if request.body:
        params.update(_read_body(request))
    return params


def _read_body(request: Request) -> Params:
    kind = request.content_type.lower()
    if kind.startswith(b"application/json"):
        return _read_json(request.body)
    if kind.startswith(b"multipart/form-data"):
        boundary = _BOUNDARY.search(request.content_type)
        if boundary is None:
            raise bad_request("can't find end of boundary in multipart/form-data")
        return _read_multipart(request.body, boundary[1].strip())
    if kind.startswith(b"application/x-www-form-urlencoded") or not kind:
        return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
    return {}


def _read_json(body: bytes) -> Params:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise bad_request("can't parse JSON object") from None
    if not isinstance(data, dict):
        raise bad_request("can't parse JSON object")
    return data


def _read_multipart(body: bytes, boundary: bytes) -> Params:
    params: Params = {}
    for piece in body.split(b"--" + boundary)[1:]:
        if piece.startswith(b"--"):
            break
        head, _, content = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is None:
            continue
        params[name[1].decode("utf-8", "replace")] = _part(head, content.removesuffix(b"\r\n"))
    return params


def _part(head: bytes, content: bytes) -> str | Part:
    filename = _FILENAME.search(head)
    if filename is None:
        return content.decode("utf-8", "replace")
    mime = _TYPE.search(head)
    name = filename[1].decode("utf-8", "replace").replace('\\"', '"') or "file"
    return Part(name, content, mime[1].decode() if mime else "application/octet-stream")


def text_of(params: Params, name: str) -> str:
    """A text parameter; "" when it is missing. A number given as JSON reads as its digits."""
    value = params.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Part):
        return value.content.decode("utf-8", "replace")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else orjson.dumps(value).decode()


def required_text(params: Params, name: str) -> str:
    """A text parameter that must not be empty."""
    value = text_of(params, name)
    if not value:
        raise bad_request(f'Parameter "{name}" is required')
    return value


def flag_of(params: Params, name: str) -> bool:
    """A yes or no, false when it is missing."""
    value = params.get(name)
    if value is None or value is False:
        return False
    return value is True or str(value).strip().lower() in ("true", "yes", "1")


def whole_of(params: Params, name: str, default: int = 0) -> int:
    """A whole number; what is none reads as the default, as it does there."""
    try:
        value = int(str(params.get(name)))
    except ValueError:
        return default
    return value if abs(value) < 1 << 63 else default


def number_of(params: Params, name: str) -> float:
    """A number, 0.0 when it is none."""
    try:
        value = float(text_of(params, name))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def value_of(params: Params, name: str, complaint: str) -> Any:
    """A structured parameter, given as JSON or as its text; None when it is missing."""
    value = params.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, Part):
        raise bad_request(complaint)
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise bad_request(complaint) from None


def message_ids_of(params: Params) -> list[int]:
    """`message_ids`: 1 to 100 numbers."""
    value = value_of(params, "message_ids", "can't parse message_ids JSON object")
    if not value:
        raise bad_request("Message identifiers are not specified")
    if not isinstance(value, list):
        raise bad_request("Expected an Array of message identifiers")
    if len(value) > 100:
        raise bad_request("Too many message identifiers specified")
    return [_message_id(item) for item in value]


def _message_id(item: Any) -> int:
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise bad_request("Message identifier must be a Number")
    try:
        number = int(item)
    except ValueError:
        raise bad_request("Can't parse message identifier as a Number") from None
    if number <= 0:
        raise bad_request("Invalid message identifier specified")
    return number


def entity_too_large() -> Refusal:
    """What a file over 50 MB gets."""
    return Refusal(413, "Request Entity Too Large")
