"""The bot these tests speak as."""

from collections.abc import Callable
from typing import Any

BOT = 123456
TOKEN = f"{BOT}:{'A' * 35}"
Call = Callable[..., Any]
