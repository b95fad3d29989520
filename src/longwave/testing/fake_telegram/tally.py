"""Running totals over the journal: asking again costs what has come since, so that a live view may ask often.

That matters for the truth as well. While the server adds up, it does not stamp arrivals; what waits in the
socket would be stamped late and in a bunch, and a sender who kept its limit would seem to have broken it.
"""

from array import array
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longwave.testing.fake_telegram.journal import Attempts, Journal


class Peak:
    """The highest number of messages in any half-open second (t - 1, t]. Times must not go back."""

    __slots__ = ("_held", "_recent", "highest")

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int]] = deque()
        self._held = 0
        self.highest = 0

    def add(self, at: float, weight: int) -> None:
        """`weight` messages arrived at `at`."""
        recent = self._recent
        recent.append((at, weight))
        self._held += weight
        while at - recent[0][0] >= 1.0:
            self._held -= recent.popleft()[1]
        self.highest = max(self.highest, self._held)


class Tally:
    """Totals of the messages of one bot (None: of all) since a Unix time (None: since the start)."""

    def __init__(self, journal: "Journal", bot: int | None, since: float | None) -> None:
        self._journal = journal
        self._bot = bot
        self._row = 0 if since is None else bisect_left(journal.times, since)
        self._peak = Peak()
        self._first_weight = 0
        self._sends = 0
        self._messages = 0
        self._paid = 0
        self._repeated = 0
        self._first_at: float | None = None
        self._last_at: float | None = None
        self.per_chat: dict[int, int] = {}
        self._attempts = AttemptTally(journal.attempts, bot, since)

    def catch_up(self) -> None:
        """Count the rows that have come."""
        journal, start = self._journal, self._row
        self._row = len(journal.times)
        columns: tuple[array[Any], ...] = (
            journal.times,
            journal.bots,
            journal.chats,
            journal.weights,
            journal.paid,
        )
        for at, bot, chat_id, weight, paid in zip(*(column[start:] for column in columns), strict=True):
            if weight and (self._bot is None or bot == self._bot):
                self._count(at, chat_id, weight, paid)
        self._attempts.catch_up()

    def _count(self, at: float, chat_id: int, weight: int, paid: int) -> None:
        if self._first_at is None:
            self._first_at, self._first_weight = at, weight
        self._last_at = at
        self._sends += 1
        self._messages += weight
        self._paid += paid
        times = self.per_chat.get(chat_id, 0) + 1
        self.per_chat[chat_id] = times
        if times == 2:
            self._repeated += 1
        self._peak.add(at, weight)

    def stats(self) -> dict[str, Any]:
        """The totals as `GET /fake/stats` gives them."""
        return {
            "accepted": self._sends,
            "messages": self._messages,
            "paid": self._paid,
            "chats": len(self.per_chat),
            "twice": self._repeated,
            "peak_second": self._peak.highest,
            "mean_rate": self._mean_rate(),
            "first_at": self._first_at,
            "last_at": self._last_at,
            "attempted": self._attempts.requests,
            "peak_second_attempted": self._attempts.peak.highest,
        }

    def _mean_rate(self) -> float | None:
        """Messages a second between the first and the last; the first one only starts the clock."""
        if self._first_at is None or self._last_at is None or self._first_at == self._last_at:
            return None
        return (self._messages - self._first_weight) / (self._last_at - self._first_at)


class AttemptTally:
    """The same for every request to send, edit or delete, whatever became of it."""

    def __init__(self, attempts: "Attempts", bot: int | None, since: float | None) -> None:
        self._attempts = attempts
        self._bot = bot
        self._row = 0 if since is None else bisect_left(attempts.times, since)
        self.peak = Peak()
        self.requests = 0

    def catch_up(self) -> None:
        """Count the requests that have come."""
        tried, start = self._attempts, self._row
        self._row = len(tried.times)
        for at, bot, weight in zip(
            tried.times[start:], tried.bots[start:], tried.weights[start:], strict=True
        ):
            if self._bot is None or bot == self._bot:
                self.requests += 1
                self.peak.add(at, weight)
