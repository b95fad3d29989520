"""Checks of `reply_markup`, in the words of TDLib and of Telegram's servers."""

from typing import Any
from urllib.parse import urlsplit

from longwave.testing.fake_telegram.answers import Refusal, bad_request
from longwave.testing.fake_telegram.parameters import Params, value_of

MAX_BUTTONS = 100
MAX_CALLBACK_DATA = 64
MAX_COPY_TEXT = 256

_TEXT_ACTIONS = ("switch_inline_query", "switch_inline_query_current_chat")
_URL_ACTIONS = (("login_url", "login"), ("web_app", "Web App"))


def read_markup(params: Params) -> Params | None:
    """The inline keyboard of a request, checked; None when there is none (other keyboards leave no trace)."""
    markup = value_of(params, "reply_markup", "Can't parse reply keyboard markup JSON object")
    if markup is None:
        return None
    if not isinstance(markup, dict):
        raise bad_request("Object expected as reply markup")
    _check_reply_keyboard(markup.get("keyboard"))
    rows = markup.get("inline_keyboard")
    if rows is None:
        return None
    return _inline(rows)


def _inline(rows: Any) -> Params | None:
    if not isinstance(rows, list):
        raise bad_request('Field "inline_keyboard" must be of type Array')
    for row in rows:
        if not isinstance(row, list):
            name = 'Field "inline_keyboard" of the InlineKeyboardMarkup'
            raise bad_request(f"{name} must be an Array of Arrays")
    buttons = [
        _button(button, first=not at and not nth)
        for at, row in enumerate(rows)
        for nth, button in enumerate(row)
    ]
    if len(buttons) > MAX_BUTTONS:
        raise bad_request("reply markup is too long")
    shown = [row for row in rows if row]
    return {"inline_keyboard": shown} if shown else None


def _check_reply_keyboard(rows: Any) -> None:
    if rows is None:
        return
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad_request('Field "keyboard" must be an Array of Arrays')
    for row in rows:
        for button in row:
            text = button.get("text") if isinstance(button, dict) else button
            if not isinstance(text, str):
                raise _unparsable("keyboard", "KeyboardButton must be a String or an Object")
            if not text:
                raise bad_request("Keyboard button text must be non-empty")


def _button(button: Any, *, first: bool) -> Params:
    if not isinstance(button, dict):
        raise _unparsable("inline keyboard", "InlineKeyboardButton must be an Object")
    text = button.get("text")
    if text is None:
        raise _unparsable("inline keyboard", 'Can\'t find field "text"')
    if not isinstance(text, str):
        raise _unparsable("inline keyboard", 'Field "text" must be of type String')
    _check_action(button, first=first)
    if not text.strip():
        raise bad_request("Inline keyboard button text must be non-empty")
    return button


def _check_action(button: Params, *, first: bool) -> None:
    """The first action that is given counts, in the order in which the Bot API server looks for them."""
    if button.get("url"):
        _check_url(str(button["url"]), "Inline keyboard button URL", https=False)
    elif button.get("callback_data"):
        if len(str(button["callback_data"]).encode()) > MAX_CALLBACK_DATA:
            raise bad_request("BUTTON_DATA_INVALID")
    elif "callback_game" in button or "pay" in button:
        if not first:
            raise bad_request("BUTTON_POS_INVALID")
    else:
        _check_other_action(button)


def _check_other_action(button: Params) -> None:
    if any(isinstance(button.get(name), str) for name in _TEXT_ACTIONS):
        return
    if isinstance(button.get("switch_inline_query_chosen_chat"), dict):
        return
    for name, title in _URL_ACTIONS:
        if isinstance(button.get(name), dict):
            _check_url(str(button[name].get("url", "")), f"Inline keyboard button {title} URL", https=True)
            return
    if isinstance(button.get("copy_text"), dict):
        _check_copy_text(button["copy_text"])
        return
    raise _unparsable("inline keyboard", "Text buttons are unallowed in the inline keyboard")


def _check_copy_text(action: Params) -> None:
    text = action.get("text")
    if not isinstance(text, str):
        raise _unparsable("inline keyboard", 'Can\'t find field "text"')
    if not 1 <= len(text) <= MAX_COPY_TEXT:
        raise bad_request("BUTTON_COPY_TEXT_INVALID")


def _check_url(url: str, title: str, *, https: bool) -> None:
    reason = _url_fault(url, https=https)
    if reason:
        raise Refusal(400, f"Bad Request: {title[0].lower()}{title[1:]} '{url}' is invalid: {reason}")


def _url_fault(url: str, *, https: bool) -> str | None:
    if url.startswith(("tg://", "ton://", "tonsite://")) and not https:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return "Wrong HTTP URL"
    if parts.scheme not in ("http", "https"):
        return "Only HTTP links are allowed"
    if https and not url.startswith("https://"):
        return "Only HTTPS links are allowed"
    host = parts.hostname or ""
    if "." not in host or host.startswith(".") or " " in url.strip():
        return "Wrong HTTP URL"
    return None


def _unparsable(what: str, reason: str) -> Refusal:
    return Refusal(400, f"Bad Request: can't parse {what} button: {reason}")
