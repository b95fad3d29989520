"""Faults on demand."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import TYPE_CHECKING, Any

from longwave.testing.fake_telegram.answers import Dropped, Refusal, Throttled, bad_request
from longwave.testing.fake_telegram.parameters import text_of

if TYPE_CHECKING:
    from longwave.testing.fake_telegram.bots import Call

KINDS = ("drop_before", "drop_after", "error", "slow", "flood", "reject", "revoke")
_WHOLE_BOT = frozenset({"flood", "revoke"})
_PHRASES = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault, until its `count` is used up or its `seconds` are over; without either, until it is cleared.

    `drop_before` closes the connection without accepting, `drop_after` accepts and closes it without an
    answer, `error` answers `status` (with `body` instead of JSON, if given), `slow` accepts and answers
    `delay` seconds later, `flood` answers 429, `reject` answers 400 with `description`, `revoke` answers
    401. `flood` and `revoke` hit every method of a bot, the others what sends, edits or deletes, unless
    `method` names one ("*": all).
    """

    kind: str
    count: int | None = None
    seconds: float | None = None
    probability: float = 1.0
    chat_id: int | str | None = None
    bot: int | None = None
    method: str | None = None
    status: int = 500
    body: str | None = None
    delay: float = 1.0
    retry_after: int | None = None
    description: str = "rejected on demand"
    id: int = 0
    until: float = math.inf
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind = {self.kind!r}: give one of {', '.join(KINDS)}")
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability = {self.probability!r}: give a share above 0, up to 1")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status = {self.status!r}: give a status from 400 to 599")
        if self.kind == "flood" and self.seconds is None and self.count is None:
            self.seconds = float(self.retry_after or 5)

    def strikes(self, call: "Call", random: Random) -> bool:
        """Whether this fault hits this request; counts it if so."""
        if call.at >= self.until or self.count == 0 or not self._means(call):
            return False
        if self.probability < 1 and random.random() >= self.probability:
            return False
        self.hits += 1
        if self.count is not None:
            self.count -= 1
        return True

    def _means(self, call: "Call") -> bool:
        if self.bot is not None and self.bot != call.bot.id:
            return False
        if self.chat_id is not None and str(self.chat_id) != text_of(call.params, "chat_id"):
            return False
        if self.method is None:
            return call.method.paced or self.kind in _WHOLE_BOT
        return self.method == "*" or self.method.lower() == call.method.name.lower()

    def apply(self, call: "Call") -> None:
        """Do to the request what this fault does."""
        match self.kind:
            case "drop_before":
                raise Dropped
            case "drop_after":
                call.drops_after = True
            case "slow":
                call.delay += self.delay
            case "flood":
                raise Throttled(self._wait(call.at), "fault")
            case "reject":
                raise bad_request(self.description)
            case "revoke":
                raise Refusal(401, "Unauthorized")
            case _:
                raise ServerError(self.status, self.body)

    def _wait(self, now: float) -> int:
        if self.retry_after is not None:
            return self.retry_after
        return max(1, math.ceil(self.until - now)) if self.until < math.inf else 1


class ServerError(Refusal):
    """A 5xx, or another status, that a fault asked for."""

    def __init__(self, status: int, body: str | None) -> None:
        super().__init__(status, _PHRASES.get(status, "Error on demand"))
        self.raw = body


class Faults:
    """The faults in force."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ids = itertools.count(1)
        self.active: list[Fault] = []

    def add(self, data: Mapping[str, Any], now: float) -> Fault:
        """Put a fault in force; its `seconds` begin now."""
        settable = {field.name for field in fields(Fault)} - {"id", "until", "hits"}
        for name in data:
            if name not in settable:
                raise ValueError(f"{name} is nothing a fault has: give one of {', '.join(sorted(settable))}")
        if "kind" not in data:
            raise ValueError(f"kind is missing: give one of {', '.join(KINDS)}")
        fault = Fault(**data)
        fault.id = next(self._ids)
        if fault.seconds is not None:
            fault.until = now + fault.seconds
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        """No faults any more."""
        self.active = []

    def meet(self, call: "Call") -> None:
        """Apply every fault that hits the request; those that end it raise."""
        for fault in self.active:
            if fault.strikes(call, self._random):
                fault.apply(call)
        self.active = [fault for fault in self.active if call.at < fault.until and fault.count != 0]
