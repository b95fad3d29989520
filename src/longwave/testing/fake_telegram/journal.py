"""The log of what really arrived: the judge of every promise about sending.

Kept in arrays, about 60 bytes a message. Arrival times never go back (see `Clock`), so everything about time
is exact.
"""

import time
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from longwave.testing.fake_telegram.tally import Tally

TEXTS_KEPT = 10_000
SHORT_TEXT = 100
THROTTLES_KEPT = 100_000


class Clock:
    """Unix time that only moves forward: the wall clock at the start, then the monotonic one."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._offset


class Attempts:
    """Arrival times of every request to send, edit or delete, whatever became of it."""

    __slots__ = ("bots", "times", "weights")

    def __init__(self) -> None:
        self.times = array("d")
        self.weights = array("H")
        self.bots = array("q")

    def add(self, at: float, bot: int, weight: int) -> None:
        """Note one request."""
        self.times.append(at)
        self.weights.append(weight)
        self.bots.append(bot)


@dataclass(slots=True)
class Throttle:
    """One 429: when, to which bot and chat, and which limit caused it."""

    at: float
    bot: int
    chat_id: int
    cause: str
    retry_after: int


class Journal:
    """Every accepted request, and a count of every refused one.

    `weight` is the number of messages a request made: 1, the size of an album, or 0 for an edit or a
    deletion, which are in the log but are no new message to anybody.
    """

    def __init__(self, keep_text: bool) -> None:
        self.times = array("d")
        self.bots = array("q")
        self.methods = array("B")
        self.chats = array("q")
        self.message_ids = array("q")
        self.weights = array("H")
        self.paid = array("B")
        self.texts: deque[str] = deque(maxlen=None if keep_text else TEXTS_KEPT)
        self.keep_text = keep_text
        self.attempts = Attempts()
        self.refused: Counter[tuple[int, int, str]] = Counter()
        self.throttles: deque[Throttle] = deque(maxlen=THROTTLES_KEPT)
        self.causes: Counter[tuple[int, str]] = Counter()
        self.method_names: list[str] = []
        self._tallies: dict[int | None, Tally] = {}

    def accept(
        self,
        at: float,
        bot: int,
        method: int,
        chat_id: int,
        message_id: int,
        weight: int,
        paid: bool,
        text: str,
    ) -> None:
        """Log one accepted request. Positional and long, for this is the hottest line of the server."""
        self.times.append(at)
        self.bots.append(bot)
        self.methods.append(method)
        self.chats.append(chat_id)
        self.message_ids.append(message_id)
        self.weights.append(weight)
        self.paid.append(paid)
        self.texts.append(text if self.keep_text else text[:SHORT_TEXT])

    def throttle(self, throttle: Throttle) -> None:
        """Note a 429; all are counted, the last 100,000 kept."""
        self.throttles.append(throttle)
        self.causes[throttle.bot, throttle.cause] += 1

    def stats(self, bot: int | None = None, since: float | None = None) -> dict[str, Any]:
        """The verdict on one bot (None: on all), over everything or since a Unix time."""
        return {**self._tally(bot, since).stats(), **self._refusals(bot, since)}

    def chat_counts(self, bot: int | None = None, since: float | None = None) -> dict[int, int]:
        """How many accepted requests that made messages each chat received; an album is one."""
        return self._tally(bot, since).per_chat

    def arrivals(self, bot: int | None = None, since: float | None = None) -> "array[float]":
        """When each of these requests arrived."""
        rows = range(0 if since is None else bisect_left(self.times, since), len(self.times))
        weights, bots = self.weights, self.bots
        wanted = (row for row in rows if weights[row] and (bot is None or bots[row] == bot))
        return array("d", [self.times[row] for row in wanted])

    def _tally(self, bot: int | None, since: float | None) -> Tally:
        tally = self._tallies.get(bot) if since is None else None
        if tally is None:
            tally = Tally(self, bot, since)
            if since is None:
                self._tallies[bot] = tally
        tally.catch_up()
        return tally

    def rows(
        self, *, offset: int = 0, limit: int = 1000, chat_id: int | None = None, method: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows in order of arrival, edits and deletions included; `offset` counts the matching ones."""
        numbers: Iterable[int] = range(len(self.times))
        if chat_id is not None:
            numbers = (row for row in numbers if self.chats[row] == chat_id)
        if method is not None:
            numbers = (
                row for row in numbers if self.method_names[self.methods[row]].lower() == method.lower()
            )
        return (self.row(number) for number in islice(numbers, offset, offset + limit))

    def row(self, number: int) -> dict[str, Any]:
        """One row; `text` is None when it is no longer kept."""
        kept = number - (len(self.times) - len(self.texts))
        return {
            "at": self.times[number],
            "bot": self.bots[number],
            "method": self.method_names[self.methods[number]],
            "chat_id": self.chats[number],
            "message_id": self.message_ids[number],
            "weight": self.weights[number],
            "paid": bool(self.paid[number]),
            "text": self.texts[kept] if kept >= 0 else None,
        }

    def _refusals(self, bot: int | None, since: float | None) -> dict[str, Any]:
        refused: Counter[str] = Counter()
        for (of, status, description), count in self.refused.items():
            if bot is None or bot == of:
                refused[f"{status} {description}"] += count
        causes: Counter[str] = Counter()
        for (of, cause), count in self._causes(since).items():
            if bot is None or bot == of:
                causes[cause] += count
        # A 429 made on demand is nobody's fault but the tester's.
        return {
            "refused": dict(refused),
            "throttled": dict(causes),
            "caused_429": causes.total() - causes["fault"],
        }

    def _causes(self, since: float | None) -> Counter[tuple[int, str]]:
        if since is None:
            return self.causes
        return Counter((throttle.bot, throttle.cause) for throttle in self.throttles if throttle.at >= since)
