"""Flood limits, measured exactly over sliding windows of arrival times.

A window is half open: with 30 a second, at most 30 messages have arrived in (t - 1, t] for every t. What
Telegram itself counts is not published. Assumed here, on the strict side: a send to a chat that refuses it
(blocked, deactivated) has used its place, as have edits and deletions; a request refused by a limit, or for
its content or an unknown chat, has not.
"""

import math
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Numbers of messages a bot may send; None switches a limit off."""

    rate: int | None = 30
    paid_rate: int = 1000
    chat_burst: int | None = 3
    chat_seconds: float = 3.0
    group_burst: int | None = 20
    group_seconds: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in ("rate", "chat_burst", "group_burst"):
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
                raise ValueError(f"{field.name} = {value!r}: give a number above 0")

    def changed(self, changes: dict[str, Any]) -> "Limits":
        """A copy with `changes` applied; a name that is no limit is refused."""
        known = {field.name for field in fields(self)}
        for name in changes:
            if name not in known:
                raise ValueError(f"{name} is not a limit: give one of {', '.join(sorted(known))}")
        return replace(self, **changes)


class SlidingWindow:
    """Arrival times of what was accepted in the last `seconds`.

    Kept in a deque, or in a list where there are very many small windows (a deque takes 600 bytes).
    """

    __slots__ = ("_times",)

    def __init__(self, times: "deque[float] | list[float] | None" = None) -> None:
        self._times = deque[float]() if times is None else times

    def count(self, now: float, seconds: float) -> int:
        """Messages accepted in (now - seconds, now]."""
        times = self._times
        while times and now - times[0] >= seconds:
            del times[0]
        return len(times)

    def wait(self, now: float, weight: int, limit: int, seconds: float) -> float:
        """Seconds until `weight` more messages fit; 0.0 when they fit now.

        More messages than the limit at once (100 copied at 30/s) can never fit: they are let through an empty
        window, and `add` makes them fill the following windows as well.
        """
        held = self.count(now, seconds)
        if held + weight <= limit or not held:
            return 0.0
        last = held - 1 if weight >= limit else held + weight - limit - 1
        # In this order it is above 0 exactly while `count` still counts the message, whatever is rounded.
        return seconds - (now - self._times[last])

    def add(self, now: float, weight: int, limit: int, seconds: float) -> None:
        """Count `weight` messages that arrived at `now`."""
        if weight == 1:
            self._times.append(now)
            return
        self._times.extend(now + seconds * (nth // limit) for nth in range(weight))


class KeyedWindows:
    """One sliding window a chat, with memory for the chats of the last two generations only.

    A generation lasts as long as the longest time any message so far keeps its chat waiting.
    """

    __slots__ = ("_age", "_old", "_turned_at", "_young")

    def __init__(self) -> None:
        self._young: dict[int, SlidingWindow] = {}
        self._old: dict[int, SlidingWindow] = {}
        self._turned_at = 0.0
        self._age = 0.0

    def wait(self, chat_id: int, now: float, weight: int, limit: int, seconds: float) -> float:
        """As `SlidingWindow.wait`, for one chat."""
        window = self._young.get(chat_id) or self._old.get(chat_id)
        return window.wait(now, weight, limit, seconds) if window else 0.0

    def add(self, chat_id: int, now: float, weight: int, limit: int, seconds: float) -> None:
        """As `SlidingWindow.add`, for one chat."""
        self._age = max(self._age, seconds * math.ceil(weight / limit))
        if now - self._turned_at >= self._age:
            self._old, self._young, self._turned_at = self._young, {}, now
        window = self._young.get(chat_id)
        if window is None:
            window = self._young[chat_id] = self._old.get(chat_id) or SlidingWindow([])
        window.add(now, weight, limit, seconds)


def whole_seconds(wait: float) -> int:
    """`retry_after` as Telegram gives it: whole seconds, at least one."""
    return max(1, math.ceil(wait))
