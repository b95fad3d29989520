"""The methods that make new messages out of what the request says."""

from collections.abc import Callable
from typing import Any

from longwave.testing.fake_telegram.answers import bad_request
from longwave.testing.fake_telegram.bots import TRUE, Call, Method
from longwave.testing.fake_telegram.delivery import admit, decorations, note, post, send, target_of
from longwave.testing.fake_telegram.keyboards import read_markup
from longwave.testing.fake_telegram.parameters import (
    Params,
    flag_of,
    number_of,
    required_text,
    text_of,
    value_of,
    whole_of,
)
from longwave.testing.fake_telegram.population import check_reachable
from longwave.testing.fake_telegram.texts import read_caption, read_plain, read_text

MAX_ALBUM = 10
ACTIONS = frozenset(
    {
        "typing",
        "upload_photo",
        "record_video",
        "upload_video",
        "record_voice",
        "upload_voice",
        "upload_document",
        "choose_sticker",
        "find_location",
        "record_video_note",
        "upload_video_note",
    }
)
_ALBUM_KINDS = ("photo", "video", "audio", "document")
_DICE = {"🎲": 6, "🎯": 6, "🎳": 6, "🏀": 5, "⚽": 5, "🎰": 64}
_CAPTIONED = frozenset({"photo", "video", "animation", "audio", "voice", "document"})


def with_markup(call: Call, content: Params) -> Params:
    """`content` with the request's inline keyboard, if it has one."""
    if "reply_markup" in call.params:
        markup = read_markup(call.params)
        if markup is not None:
            content["reply_markup"] = markup
    return content


def link_preview(params: Params) -> Params:
    """The preview options of a text message."""
    options = value_of(params, "link_preview_options", "Can't parse link preview options JSON object")
    if options is None:
        if not flag_of(params, "disable_web_page_preview"):
            return {}
        options = {"is_disabled": True}
    if not isinstance(options, dict):
        raise bad_request("Object expected as link preview options")
    return {"link_preview_options": options}


def text_content(call: Call) -> Params:
    """The content of a text message."""
    content = read_text(call.params)
    if len(call.params) > 2:
        content |= link_preview(call.params)
    return with_markup(call, content)


def _send_message(call: Call) -> bytes:
    content = text_content(call)
    return send(call, content, content["text"])


def media_fields(call: Call, kind: str, reference: Any, details: Params) -> Params:
    """The part of a message that shows a file: `photo`, `video`, … An animation is a document as well."""
    file = call.bot.files.media(kind, call.params, reference, kind, details)
    found: Params = {kind: file.shape}
    if kind == "animation":
        found["document"] = {key: file.shape[key] for key in ("file_id", "file_unique_id", "file_size")}
    if flag_of(details, "has_spoiler"):
        found["has_media_spoiler"] = True
    return found


def _send_media(kind: str) -> Callable[[Call], bytes]:
    def run(call: Call) -> bytes:
        caption = read_caption(call.params) if kind in _CAPTIONED else {}
        content = media_fields(call, kind, call.params.get(kind), call.params) | caption
        return send(call, with_markup(call, content), str(caption.get("caption", "")))

    return run


def _send_location(call: Call) -> bytes:
    return send(call, with_markup(call, {"location": _location(call.params)}))


def _location(params: Params) -> Params:
    for name in ("latitude", "longitude"):
        if not text_of(params, name).strip():
            raise bad_request(f"{name} is empty")
    latitude, longitude = number_of(params, "latitude"), number_of(params, "longitude")
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise bad_request("MEDIA_INVALID")
    location: Params = {"latitude": latitude, "longitude": longitude}
    if whole_of(params, "live_period"):
        location["live_period"] = whole_of(params, "live_period")
    return location


def _send_venue(call: Call) -> bytes:
    params = call.params
    venue: Params = {"location": _location(params), "title": text_of(params, "title")}
    venue["address"] = text_of(params, "address")
    content = {"location": venue["location"], "venue": venue}
    return send(call, with_markup(call, content), venue["title"])


def _send_contact(call: Call) -> bytes:
    contact = {name: required_text(call.params, name) for name in ("phone_number", "first_name")}
    contact |= {name: text_of(call.params, name) for name in ("last_name", "vcard") if call.params.get(name)}
    return send(call, with_markup(call, {"contact": contact}), contact["first_name"])


def _send_dice(call: Call) -> bytes:
    emoji = text_of(call.params, "emoji").removesuffix("\ufe0f") or "🎲"
    if emoji not in _DICE:
        raise bad_request("EMOTICON_INVALID")
    dice = {"emoji": emoji, "value": call.world.random.randint(1, _DICE[emoji])}
    return send(call, with_markup(call, {"dice": dice}))


def _send_poll(call: Call) -> bytes:
    params = call.params
    question, entities = read_plain(text_of(params, "question"), text_of(params, "question_parse_mode"))
    if not question.strip():
        raise bad_request("Text must be non-empty")
    if len(question) > 300:
        raise bad_request("Poll question length must not exceed 300")
    options = _poll_options(params)
    poll: Params = {
        "id": str(5_000_000_000_000_000 + len(call.world.journal.times)),
        "question": question,
        "options": options,
        "total_voter_count": 0,
        "is_closed": flag_of(params, "is_closed"),
        "is_anonymous": "is_anonymous" not in params or flag_of(params, "is_anonymous"),
        "allows_multiple_answers": flag_of(params, "allows_multiple_answers"),
        "allows_revoting": text_of(params, "type") != "quiz",
        "members_only": False,
        **_poll_type(params, len(options)),
    }
    if entities:
        poll["question_entities"] = entities
    return send(call, with_markup(call, {"poll": poll}), question)


def _poll_options(params: Params) -> list[Params]:
    given = value_of(params, "options", "Can't parse options JSON object")
    if not isinstance(given, list):
        raise bad_request("Expected an Array of String as options")
    options = [_poll_option(nth, option) for nth, option in enumerate(given)]
    if not options:
        raise bad_request("Poll must have at least one answer option")
    if len(options) > 12:
        raise bad_request("Poll can't have more than 12 options")
    return options


def _poll_option(number: int, option: Any) -> Params:
    mode = ""
    if isinstance(option, dict):
        mode, option = text_of(option, "text_parse_mode"), option.get("text")
    if not isinstance(option, str):
        raise bad_request("Expected an option to be of type String")
    text, entities = read_plain(option, mode)
    if not text.strip():
        raise bad_request("Poll option must be non-empty")
    if len(text) > 100:
        raise bad_request("Poll options length must not exceed 100")
    found: Params = {"persistent_id": str(number), "text": text, "voter_count": 0}
    return {**found, "text_entities": entities} if entities else found


def _poll_type(params: Params, options: int) -> Params:
    kind = text_of(params, "type") or "regular"
    if kind == "regular":
        return {"type": kind}
    if kind != "quiz":
        raise bad_request("Unsupported poll type specified")
    correct = value_of(params, "correct_option_ids", "Can't parse correct option identifiers JSON object")
    if correct is None:
        correct = [whole_of(params, "correct_option_id", -1)] if "correct_option_id" in params else []
    if not correct:
        raise bad_request("Correct quiz option list must be non-empty")
    if not all(isinstance(option, int) and 0 <= option < options for option in correct):
        raise bad_request("Wrong quiz correct_option_id")
    found: Params = {"type": kind, "correct_option_ids": correct, "correct_option_id": correct[0]}
    explanation, _ = read_plain(text_of(params, "explanation"), text_of(params, "explanation_parse_mode"))
    return {**found, "explanation": explanation} if explanation else found


def input_media(call: Call, item: Any, *, for_album: bool = False) -> Params:
    """The content an InputMedia describes."""
    if not isinstance(item, dict):
        raise bad_request("Can't parse InputMedia: expected an Object")
    kind = item.get("type")
    if not isinstance(kind, str):
        raise bad_request("Can't parse InputMedia: Can't find field \"type\"")
    if for_album and kind == "animation":
        raise bad_request("Can't parse InputMedia: type \"animation\" can't be used in sendMediaGroup")
    if kind not in (*_ALBUM_KINDS, "animation"):
        raise bad_request(f'Can\'t parse InputMedia: type "{kind}" is unsupported')
    if not item.get("media"):
        raise bad_request("Can't parse InputMedia: media not found")
    return media_fields(call, kind, item["media"], item) | read_caption(item)


def _send_media_group(call: Call) -> bytes:
    contents = _album(call)
    target = target_of(call)
    extra = decorations(call, target)
    admit(call, target, weight=len(contents))
    extra["media_group_id"] = str(13_000_000_000_000_000 + len(call.world.journal.times))
    posted = [post(call, target, content | extra) for content in contents]
    note(call, target, posted[0][0], str(contents[0].get("caption", "")), weight=len(posted))
    return b"[%b]" % b",".join(body for _, body in posted)


def _album(call: Call) -> list[Params]:
    required_text(call.params, "media")
    items = value_of(call.params, "media", "Can't parse media JSON object")
    if not isinstance(items, list):
        raise bad_request("Expected an Array of InputMedia")
    call.weight = max(1, len(items))
    if not items:
        raise bad_request("There are no messages to send")
    if len(items) > MAX_ALBUM:
        raise bad_request("Too many messages to send as an album")
    if len(items) < 2:
        # The documentation's rule; the original's wording for it is not known.
        raise bad_request("There must be from 2 to 10 messages in an album")
    contents = [input_media(call, item, for_album=True) for item in items]
    kinds = {item["type"] for item in items}
    for kind in ("audio", "document"):
        if kind in kinds and len(kinds) > 1:
            raise bad_request(f"{kind.capitalize()} can't be mixed with other media types")
    return contents


def _send_chat_action(call: Call) -> bytes:
    if text_of(call.params, "action").lower() not in ACTIONS:
        raise bad_request("Wrong parameter action in request")
    target = target_of(call)
    check_reachable(target.id, target.state)
    return TRUE


def _paced(name: str, run: Callable[[Call], bytes]) -> Method:
    return Method(name, run, paced=True, has_paid=True)


METHODS = (
    _paced("sendMessage", _send_message),
    _paced("sendPhoto", _send_media("photo")),
    _paced("sendVideo", _send_media("video")),
    _paced("sendAnimation", _send_media("animation")),
    _paced("sendAudio", _send_media("audio")),
    _paced("sendVoice", _send_media("voice")),
    _paced("sendVideoNote", _send_media("video_note")),
    _paced("sendDocument", _send_media("document")),
    _paced("sendSticker", _send_media("sticker")),
    _paced("sendPoll", _send_poll),
    _paced("sendLocation", _send_location),
    _paced("sendVenue", _send_venue),
    _paced("sendContact", _send_contact),
    _paced("sendDice", _send_dice),
    _paced("sendMediaGroup", _send_media_group),
    Method("sendChatAction", _send_chat_action),
)
