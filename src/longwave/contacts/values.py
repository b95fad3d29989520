"""Rules for single values of a contact: addresses, attribute names, and how the text of a cell is read."""

import math
import re
from functools import lru_cache

CHANNELS = ("telegram", "email", "memory")

LARGEST_EXACT = 2**53
"""Whole numbers up to here are the same in JSON, in a double and in every database."""

ADDRESS_LENGTH = 190
ATTRIBUTE_NAME_LENGTH = 64

FIELD_NAMES = frozenset(
    ("id", "channel", "address", "status", "language", "timezone", "attributes", "first_seen", "last_seen")
)
"""What a contact has anyway: an attribute of this name would hide it from templates."""

_TEMPLATE_CONSTANTS = {"true", "false", "none", "True", "False", "None"}
_TEMPLATE_WORDS = {"not", "and", "or", "in", "is", "if", "else", "self", "loop", "super", "caller"}

_CHAT_ID = re.compile(r"-?[0-9]{1,16}", re.ASCII)
# Local part of the length RFC 5321 allows, no quoting: addresses that need it exist on paper only.
_EMAIL = re.compile(r"[^\s@\"(),:;<>\[\]\\]{1,64}@[^\s@\"(),:;<>\[\]\\]+\.[^\s@\"(),:;<>\[\]\\.]{2,}")
_NUMBER = re.compile(r"-?[0-9]{1,17}(?:\.[0-9]{1,17})?", re.ASCII)

Scalar = str | int | float | bool


def address(channel: str, text: str) -> str:
    """`text` in the one spelling under which `channel` knows it. Raises ValueError with what is wrong."""
    text = text.strip()
    if not text:
        raise ValueError("has no address")
    if channel == "telegram":
        return _chat_id(text)
    found = _email(text) if channel == "email" and len(text) <= ADDRESS_LENGTH else text
    if len(found) > ADDRESS_LENGTH:
        raise ValueError(f"the address has {len(found)} characters; {ADDRESS_LENGTH} is the longest")
    return found


def _chat_id(text: str) -> str:
    if not _CHAT_ID.fullmatch(text):
        # What pandas writes for whole numbers in a column that has gaps.
        if text.endswith(".0") and _CHAT_ID.fullmatch(text[:-2]):
            return _chat_id(text[:-2])
        raise ValueError(f"chat id {text[:40]!r} is not a whole number")
    number = int(text)
    if number == 0:
        raise ValueError("chat id 0 belongs to nobody")
    if abs(number) >= 2**52:
        raise ValueError(f"chat id {text} is too large; Telegram's have at most 52 bits")
    return str(number)


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not an e-mail address")
    # No provider tells Ann@ from ann@, and a person who signed up twice gets one message.
    return text.lower()


def language(text: str) -> str:
    """A language tag as we keep it: `pt_BR` is `pt-br`."""
    return text.strip().lower().replace("_", "-")


@lru_cache(maxsize=4096)
def attribute_name_problem(name: str) -> str | None:
    """Why templates could not use an attribute of this name; None when they can."""
    if not name:
        return "is empty"
    if len(name) > ATTRIBUTE_NAME_LENGTH:
        return f"has {len(name)} characters; {ATTRIBUTE_NAME_LENGTH} is the longest"
    if not name.isidentifier():
        return "may have only letters, digits and _, and must not start with a digit"
    if name in _TEMPLATE_WORDS | _TEMPLATE_CONSTANTS:
        return "is a word of the template language"
    if name in FIELD_NAMES:
        return "is already a field of every contact"
    return None


def number(text: str) -> int | float | None:
    """The number that `text` spells exactly as we would write it; None for `007`, `1.50`, `1e5` and words.

    So nothing is lost: a phone number with leading zeros, a price with two decimals stay what they were.
    """
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text) if "." in text else int(text)
    if repr(value) != text or not math.isfinite(value) or abs(value) > LARGEST_EXACT:
        return None
    return value


def cell(text: str) -> Scalar:
    """An attribute from the text of a table's cell: a number when it reads as one exactly, else the text."""
    if text[:1] not in "-0123456789":  # most cells: not worth a regular expression
        return text
    value = number(text)
    return text if value is None else value
