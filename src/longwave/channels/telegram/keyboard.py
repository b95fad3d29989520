"""Inline keyboards: rows of buttons that do exactly one thing each."""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct, to_builtins

from longwave.channels.telegram.entities import utf16_length
from longwave.channels.telegram.links import checked_link, custom_emoji_id
from longwave.channels.telegram.media import is_web_address
from longwave.channels.telegram.templates import has_template
from longwave.core.errors import Problem

MAX_CALLBACK_BYTES = 64
MAX_COPY_TEXT = 256
MAX_BUTTONS = 100
_ACTIONS = (
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "pay",
)


class WebApp(Struct, frozen=True):
    """A mini app to open."""

    url: str


class LoginUrl(Struct, frozen=True, omit_defaults=True):
    """An address that authorises the user on its way."""

    url: str
    forward_text: str | None = None
    bot_username: str | None = None
    request_write_access: bool = False


class ChosenChat(Struct, frozen=True, omit_defaults=True):
    """Asks for a chat of some type and writes the bot's name and `query` there."""

    query: str = ""
    allow_user_chats: bool = False
    allow_bot_chats: bool = False
    allow_group_chats: bool = False
    allow_channel_chats: bool = False


class CopyText(Struct, frozen=True):
    """Text that goes to the clipboard."""

    text: str


class Button(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One button: `text`, its looks, and exactly one action."""

    text: str
    url: str | None = None
    callback_data: str | None = None
    web_app: WebApp | None = None
    login_url: LoginUrl | None = None
    switch_inline_query: str | None = None
    switch_inline_query_current_chat: str | None = None
    switch_inline_query_chosen_chat: ChosenChat | None = None
    copy_text: CopyText | None = None
    pay: bool = False
    style: Literal["danger", "success", "primary"] | None = None
    icon_custom_emoji_id: str | None = None


Keyboard = tuple[tuple[Button, ...], ...]


def one_action(button: Button) -> tuple[str, object, str] | None:
    """A button does exactly one thing; broken: (field, value, remedy)."""
    given = [name for name in _ACTIONS if getattr(button, name) not in (None, False)]
    if len(given) != 1:
        return "", given, f"needs exactly one action: {', '.join(_ACTIONS)}"
    return None


def markup(keyboard: Keyboard) -> dict[str, Any] | None:
    """The Bot API's reply_markup; None for a keyboard without buttons."""
    rows = [[to_builtins(button) for button in row] for row in keyboard]
    return {"inline_keyboard": rows} if rows else None


def check_keyboard(keyboard: Keyboard, *, is_copy: bool, rendered: bool) -> Iterator[Problem]:
    """What Telegram would refuse. rendered: whether templates were already filled in."""
    total = sum(len(row) for row in keyboard)
    if total > MAX_BUTTONS:
        yield Problem("keyboard", total, f"must have at most {MAX_BUTTONS} buttons")
    for i, row in enumerate(keyboard):
        if not row:
            yield Problem(f"keyboard[{i}]", [], "must have at least one button; remove the empty row")
        for j, button in enumerate(row):
            field = f"keyboard[{i}][{j}]"
            for problem in _check_button(button, field):
                if rendered or not has_template(problem.value):
                    yield problem
            if button.pay and not (is_copy and i == j == 0):
                yield Problem(f"{field}.pay", True, "works only as the first button under a copied invoice")


def _check_button(button: Button, field: str) -> Iterator[Problem]:
    if not button.text.strip():
        yield Problem(f"{field}.text", button.text, "must not be empty")
    if button.icon_custom_emoji_id is not None and not custom_emoji_id(button.icon_custom_emoji_id):
        yield Problem(
            f"{field}.icon_custom_emoji_id", button.icon_custom_emoji_id, "must be a number in quotes"
        )
    data = button.callback_data
    if data is not None and not 0 < len(data.encode()) <= MAX_CALLBACK_BYTES:
        remedy = f"has {len(data.encode())} bytes; must have 1 to {MAX_CALLBACK_BYTES}"
        yield Problem(f"{field}.callback_data", data, remedy)
    if button.copy_text and not 0 < utf16_length(button.copy_text.text) <= MAX_COPY_TEXT:
        remedy = f"must have 1 to {MAX_COPY_TEXT} characters"
        yield Problem(f"{field}.copy_text.text", button.copy_text.text, remedy)
    yield from _check_addresses(button, field)


def _check_addresses(button: Button, field: str) -> Iterator[Problem]:
    if button.url is not None and not checked_link(button.url):
        yield Problem(f"{field}.url", button.url, "must be an http://, https:// or tg:// address")
    if button.web_app and not is_web_address(button.web_app.url, only_https=True):
        yield Problem(f"{field}.web_app.url", button.web_app.url, "must be an https:// address")
    if button.login_url and not is_web_address(button.login_url.url, only_https=True):
        yield Problem(f"{field}.login_url.url", button.login_url.url, "must be an https:// address")
