"""Who got what, said by the provider's log: the judge of every demo, test and benchmark that sends."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from longwave.testing.fake_telegram import Control


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every expected chat is in exactly one of the five counts after `expected`.

    delivered_once, delivered_twice: by the provider's log (twice is more than once). gone: tried, and refused for good,
    for the provider knows no such user or the user has blocked the bot. unknown: not in the log, and we say that we do
    not know. lost: not in the log, and nobody said so. peak_second: most messages in any sliding second; mean_rate:
    messages a second from the first to the last. caused_429: refusals by a limit we broke; scripted floods are not
    ours. seconds: first to last message.

    The mean is shown and not judged: a scripted flood and the careful first messages take their part of it, of a short
    run more than of a long one. tests/chaos judges it where nothing interrupts the sending.
    """

    expected: int
    delivered_once: int
    delivered_twice: int
    lost: int
    unknown: int
    gone: int
    peak_second: int
    mean_rate: float
    caused_429: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def broken_promises(self, rate: float | None) -> list[str]:
        """What the verdict says against us, as sentences; empty when every promise was kept."""
        found = []
        if self.delivered_twice:
            found.append(f"{self.delivered_twice} chats got it twice")
        if self.lost:
            found.append(f"{self.lost} chats were silently skipped")
        if rate is not None and self.peak_second > rate:
            found.append(f"{self.peak_second} messages in one second, where {rate:g} are allowed")
        if self.caused_429:
            found.append(f"{self.caused_429} refusals for going too fast")
        return found


def judge(telegram: Control, expected: Iterable[int], states: Mapping[int, str]) -> Verdict:
    """Compare the provider's log with who should have got it. `states`: what our ledger says of each chat.

    That a chat is gone must be true for the provider and known to us, and the provider must have refused as many.
    """
    delivered = telegram.chats()
    population = telegram.population()
    stats = telegram.stats()
    counts = {"once": 0, "twice": 0, "gone": 0, "unknown": 0, "lost": 0}
    total = 0
    for chat in expected:
        total += 1
        home = population.of(chat)
        copies = delivered.get(chat) or (delivered.get(home, 0) if isinstance(home, int) else 0)
        if copies:
            counts["once" if copies == 1 else "twice"] += 1
        elif home != "ok" and states.get(chat) == "gone":
            counts["gone"] += 1
        elif states.get(chat) in ("unknown", "skipped"):
            counts["unknown"] += 1
        else:
            counts["lost"] += 1
    never_tried = max(0, counts["gone"] - _refused(stats))
    first, last = stats["first_at"], stats["last_at"]
    return Verdict(
        expected=total,
        delivered_once=counts["once"],
        delivered_twice=counts["twice"],
        lost=counts["lost"] + never_tried,
        unknown=counts["unknown"],
        gone=counts["gone"] - never_tried,
        peak_second=stats["peak_second"],
        mean_rate=round(stats["mean_rate"] or 0.0, 2),
        caused_429=stats["caused_429"],
        seconds=round(last - first, 2) if first and last else 0.0,
    )


def _refused(stats: Mapping[str, Any]) -> int:
    """How many requests the provider refused for a reason that waiting does not change."""
    return sum(count for answer, count in stats["refused"].items() if answer.startswith(("400", "403")))
