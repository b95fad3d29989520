"""What the server says, as the Bot API says it."""

from typing import Any

import orjson


class Refusal(Exception):
    """An answer with `"ok": false`. `description` is Telegram's own wording, with its prefix."""

    def __init__(self, status: int, description: str, parameters: dict[str, Any] | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.parameters = parameters

    def body(self) -> bytes:
        """The JSON of the answer."""
        answer: dict[str, Any] = {"ok": False, "error_code": self.status, "description": self.description}
        if self.parameters:
            answer["parameters"] = self.parameters
        return orjson.dumps(answer)


class Dropped(Exception):
    """The connection is to be closed without an answer."""


def bad_request(reason: str) -> Refusal:
    """400; `reason` as in TDLib: the Bot API lowers its first letter, unless it begins a CAPITAL_NAME."""
    if len(reason) > 1 and reason[0].isupper() and reason[1] != "_" and not reason[1].isupper():
        reason = reason[0].lower() + reason[1:]
    return Refusal(400, f"Bad Request: {reason}")


def forbidden(reason: str) -> Refusal:
    """403."""
    return Refusal(403, f"Forbidden: {reason}")


class Throttled(Refusal):
    """429; everything waits `retry_after` seconds. `cause`: global, chat, group, flood or fault."""

    def __init__(self, retry_after: int, cause: str) -> None:
        super().__init__(429, f"Too Many Requests: retry after {retry_after}", {"retry_after": retry_after})
        self.retry_after = retry_after
        self.cause = cause
