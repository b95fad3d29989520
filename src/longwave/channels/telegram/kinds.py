"""The kinds of content a broadcast can have, as typed values.

Names are the Bot API's where it has one, except for three that everybody asks about: `silent`
(disable_notification), `protected` (protect_content) and `topic_id` (message_thread_id).
"""

from typing import Literal

from msgspec import Struct

from longwave.channels.telegram.entities import Entity
from longwave.channels.telegram.keyboard import Keyboard
from longwave.channels.telegram.media import Media

ParseMode = Literal["HTML", "MarkdownV2"]


class LinkPreview(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Whether, of what and how large a preview of a link is shown under a text."""

    is_disabled: bool = False
    url: str | None = None
    prefer_small_media: bool = False
    prefer_large_media: bool = False
    show_above_text: bool = False


class _Sent(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind"):
    silent: bool = False
    protected: bool = False
    topic_id: int | None = None
    message_effect_id: str | None = None


class _Single(_Sent, frozen=True, omit_defaults=True, kw_only=True):
    keyboard: Keyboard = ()


class _Captioned(_Single, frozen=True, omit_defaults=True, kw_only=True):
    caption: str | None = None
    parse_mode: ParseMode | None = None
    entities: tuple[Entity, ...] = ()


class _Visual(_Captioned, frozen=True, omit_defaults=True, kw_only=True):
    show_caption_above_media: bool = False
    has_spoiler: bool = False


class Text(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="text"):
    """A text."""

    text: str
    parse_mode: ParseMode | None = None
    entities: tuple[Entity, ...] = ()
    link_preview: LinkPreview | None = None


class Photo(_Visual, frozen=True, omit_defaults=True, kw_only=True, tag="photo"):
    """A photo with a caption."""

    photo: Media


class Video(_Visual, frozen=True, omit_defaults=True, kw_only=True, tag="video"):
    """A video with a caption."""

    video: Media
    duration: int | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: Media | None = None
    cover: Media | None = None
    start_timestamp: int | None = None
    supports_streaming: bool = False


class Animation(_Visual, frozen=True, omit_defaults=True, kw_only=True, tag="animation"):
    """A GIF, or a video without sound."""

    animation: Media
    duration: int | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: Media | None = None


class Audio(_Captioned, frozen=True, omit_defaults=True, kw_only=True, tag="audio"):
    """Music."""

    audio: Media
    duration: int | None = None
    performer: str | None = None
    title: str | None = None
    thumbnail: Media | None = None


class Voice(_Captioned, frozen=True, omit_defaults=True, kw_only=True, tag="voice"):
    """A voice note."""

    voice: Media
    duration: int | None = None


class VideoNote(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="video_note"):
    """A round video of up to a minute."""

    video_note: Media
    duration: int | None = None
    length: int | None = None
    thumbnail: Media | None = None


class Document(_Captioned, frozen=True, omit_defaults=True, kw_only=True, tag="document"):
    """Any file."""

    document: Media
    thumbnail: Media | None = None
    disable_content_type_detection: bool = False


class Sticker(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="sticker"):
    """A sticker."""

    sticker: Media
    emoji: str | None = None


class Poll(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="poll"):
    """A poll or a quiz."""

    question: str
    options: tuple[str, ...]
    type: Literal["regular", "quiz"] = "regular"
    is_anonymous: bool = True
    allows_multiple_answers: bool = False
    correct_option_id: int | None = None
    explanation: str | None = None
    parse_mode: ParseMode | None = None
    open_period: int | None = None
    close_date: int | None = None
    is_closed: bool = False


class Location(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="location"):
    """A point on the map."""

    latitude: float
    longitude: float
    horizontal_accuracy: float | None = None
    live_period: int | None = None
    heading: int | None = None
    proximity_alert_radius: int | None = None


class Venue(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="venue"):
    """A named place."""

    latitude: float
    longitude: float
    title: str
    address: str
    foursquare_id: str | None = None
    foursquare_type: str | None = None
    google_place_id: str | None = None
    google_place_type: str | None = None


class Contact(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="contact"):
    """Somebody's phone number."""

    phone_number: str
    first_name: str
    last_name: str | None = None
    vcard: str | None = None


class Dice(_Single, frozen=True, omit_defaults=True, kw_only=True, tag="dice"):
    """An animated emoji with a random value."""

    emoji: Literal["🎲", "🎯", "🏀", "⚽", "🎳", "🎰"] = "🎲"


class _Item(Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind"):
    media: Media
    caption: str | None = None
    parse_mode: ParseMode | None = None
    entities: tuple[Entity, ...] = ()


class PhotoItem(_Item, frozen=True, omit_defaults=True, kw_only=True, tag="photo"):
    """A photo of an album."""

    show_caption_above_media: bool = False
    has_spoiler: bool = False


class VideoItem(_Item, frozen=True, omit_defaults=True, kw_only=True, tag="video"):
    """A video of an album."""

    show_caption_above_media: bool = False
    has_spoiler: bool = False
    duration: int | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: Media | None = None
    cover: Media | None = None
    start_timestamp: int | None = None
    supports_streaming: bool = False


class AudioItem(_Item, frozen=True, omit_defaults=True, kw_only=True, tag="audio"):
    """A piece of music of an album."""

    duration: int | None = None
    performer: str | None = None
    title: str | None = None
    thumbnail: Media | None = None


class DocumentItem(_Item, frozen=True, omit_defaults=True, kw_only=True, tag="document"):
    """A file of an album."""

    thumbnail: Media | None = None
    disable_content_type_detection: bool = False


Item = PhotoItem | VideoItem | AudioItem | DocumentItem


class Album(_Sent, frozen=True, omit_defaults=True, kw_only=True, tag="album"):
    """Two to ten photos and videos, documents, or pieces of music, shown as one."""

    items: tuple[Item, ...]


class Copy(_Captioned, frozen=True, omit_defaults=True, kw_only=True, tag="copy"):
    """A message, or several, that the bot can see, sent anew without a link to the original."""

    from_chat_id: int | str
    message_id: int | None = None
    message_ids: tuple[int, ...] = ()
    show_caption_above_media: bool = False
    remove_caption: bool = False


class Forward(_Sent, frozen=True, omit_defaults=True, kw_only=True, tag="forward"):
    """A message, or several, that the bot can see, with the name of the original sender."""

    from_chat_id: int | str
    message_id: int | None = None
    message_ids: tuple[int, ...] = ()


Content = (
    Text
    | Photo
    | Video
    | Animation
    | Audio
    | Voice
    | VideoNote
    | Document
    | Sticker
    | Poll
    | Location
    | Venue
    | Contact
    | Dice
    | Album
    | Copy
    | Forward
)

KINDS: dict[str, type[Content]] = {str(kind.__struct_config__.tag): kind for kind in Content.__args__}
"""Content type by the value of `kind`."""


def kind_of(content: Content | Item) -> str:
    """The value of `kind`."""
    return str(content.__struct_config__.tag)


def one_source(content: Copy | Forward) -> tuple[str, object, str] | None:
    """What is copied or forwarded is named in exactly one way; broken: (field, value, remedy)."""
    if (content.message_id is None) == (not content.message_ids):
        given = content.message_id if content.message_id is None else content.message_ids
        return "message_id", given, "give either message_id, or message_ids for several"
    return None


def medias(content: Content) -> dict[str, Media]:
    """Every file reference by its dotted field, covers and thumbnails included."""
    if isinstance(content, Album):
        found = {}
        for i, item in enumerate(content.items):
            found[f"items[{i}].media"] = item.media
            found |= _extra_medias(item, f"items[{i}].")
        return found
    main = getattr(content, kind_of(content), None)
    return {kind_of(content): main, **_extra_medias(content, "")} if isinstance(main, Media) else {}


def _extra_medias(owner: Content | Item, prefix: str) -> dict[str, Media]:
    named = {f"{prefix}{name}": getattr(owner, name, None) for name in ("cover", "thumbnail")}
    return {field: media for field, media in named.items() if isinstance(media, Media)}
