"""Texts and captions with their markup, checked as Telegram checks them."""

from typing import Any

import msgspec

from longwave.channels.telegram.markup import (
    Entity,
    MarkupError,
    Parsed,
    parse_html,
    parse_markdown,
    parse_markdown_v2,
    utf16_length,
)
from longwave.testing.fake_telegram.answers import Refusal, bad_request
from longwave.testing.fake_telegram.parameters import Params, text_of, value_of

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_BYTES = 1 << 15

_PARSERS = {"html": parse_html, "markdown": parse_markdown, "markdownv2": parse_markdown_v2}


def read_text(params: Params) -> Params:
    """`text` and `entities` of a text message."""
    text = params.get("text")
    if not isinstance(text, str):
        text = text_of(params, "text")
    if not text:
        raise bad_request("Message text is empty")
    text, entities = _formatted(params, text, "entities")
    if not entities:
        text = text.strip()
    if not text.strip():
        raise bad_request("Text must be non-empty")
    if _longer_than(text, MAX_TEXT):
        raise bad_request("Message is too long")
    return {"text": text, "entities": entities} if entities else {"text": text}


def read_caption(params: Params) -> Params:
    """`caption` and `caption_entities`; nothing when there is no caption."""
    text = text_of(params, "caption")
    if not text:
        return {}
    text, entities = _formatted(params, text, "caption_entities")
    if _longer_than(text, MAX_CAPTION):
        raise bad_request("Message caption is too long")
    found: Params = {"caption": text} if text.strip() else {}
    if found and entities:
        found["caption_entities"] = entities
    if found and params.get("show_caption_above_media") in (True, "true", "True", "1"):
        found["show_caption_above_media"] = True
    return found


def read_plain(text: str, parse_mode: str) -> tuple[str, list[Params]]:
    """A text with markup elsewhere: a poll's question, an option."""
    return _parsed(text, parse_mode) if parse_mode else (text, [])


def _formatted(params: Params, text: str, entities: str) -> tuple[str, list[Params]]:
    if len(text) > MAX_BYTES // 4 and len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise bad_request("Text is too long")
    mode = params.get("parse_mode")
    if mode and str(mode).lower() != "none":
        return _parsed(text, str(mode))
    if params.get(entities):
        return text, _given(value_of(params, entities, "can't parse entities JSON object"), text)
    return text, []


def _parsed(text: str, mode: str) -> tuple[str, list[Params]]:
    parser = _PARSERS.get(mode.lower())
    if parser is None:
        raise bad_request("Unsupported parse_mode")
    try:
        parsed: Parsed = parser(text)
    except MarkupError as error:
        raise Refusal(400, f"Bad Request: can't parse entities: {error}") from None
    return parsed.text, [_entity(entity) for entity in parsed.entities]


def _entity(entity: Entity) -> Params:
    found: Params = msgspec.to_builtins(entity)
    user_id = found.pop("user_id", None)
    if user_id is not None:
        found["user"] = {"id": user_id, "is_bot": False, "first_name": f"User {user_id}"}
    return found


def _given(entities: Any, text: str) -> list[Params]:
    """Entities of the request itself. Those outside of the text are left out, as they are there."""
    if not isinstance(entities, list):
        return []
    length = utf16_length(text)
    found: list[Params] = []
    for entity in entities:
        _check_entity(entity)
        if entity["offset"] >= 0 and 0 < entity["length"] <= length - entity["offset"]:
            found.append(entity)
    return found


def _check_entity(entity: Any) -> None:
    if not isinstance(entity, dict):
        raise bad_request("Can't parse MessageEntity: expected an Object")
    for name, kind, word in (("offset", int, "Number"), ("length", int, "Number"), ("type", str, "String")):
        if name not in entity:
            raise bad_request(f"Can't parse MessageEntity: Can't find field \"{name}\"")
        if not isinstance(entity[name], kind):
            raise bad_request(f'Can\'t parse MessageEntity: Field "{name}" must be of type {word}')


def _longer_than(text: str, limit: int) -> bool:
    return len(text) > limit // 2 and utf16_length(text) > limit
