"""Updates on their way to a bot that polls."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Update = dict[str, Any]
ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
"""Kinds a bot receives only when `allowed_updates` names them."""


@dataclass(slots=True)
class Poller:
    """A getUpdates request that waits."""

    take: Callable[[Sequence[Update]], None]
    conflict: Callable[[str], None]
    is_gone: Callable[[], bool]
    limit: int
    timer: asyncio.TimerHandle


class UpdateQueue:
    """One bot's updates, each kept until a later offset confirms it."""

    def __init__(self) -> None:
        self._next_id = 1
        self._pending: deque[Update] = deque()
        self._allowed: frozenset[str] = frozenset()
        self._poller: Poller | None = None

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def allowed(self) -> list[str]:
        """The kinds the bot asked for; empty: the usual ones."""
        return sorted(self._allowed)

    def allow(self, kinds: Sequence[str]) -> None:
        """Which kinds are kept from now on; none named: the usual ones."""
        self._allowed = frozenset(kinds)

    def push(self, update: Update) -> int | None:
        """Queue an update, given without or with its id; None when the bot did not ask for its kind."""
        kind = next((name for name in update if name != "update_id"), "")
        if kind not in self._allowed if self._allowed else kind in ON_REQUEST:
            return None
        update_id = int(update.get("update_id") or self._next_id)
        self._next_id = max(self._next_id, update_id + 1)
        self._pending.append({"update_id": update_id, **update})
        self._serve_poller()
        return update_id

    def confirm(self, offset: int) -> None:
        """Forget updates below `offset`; a negative one keeps only that many from the end."""
        pending = self._pending
        while pending and (pending[0]["update_id"] < offset or 0 < -offset < len(pending)):
            pending.popleft()

    def drop(self) -> None:
        """Forget everything that waits."""
        self._pending.clear()

    def first(self, limit: int) -> list[Update]:
        """Up to `limit` updates, oldest first."""
        return [self._pending[nth] for nth in range(min(limit, len(self._pending)))]

    def wait(self, poller: Poller) -> None:
        """Answer this poller when an update comes."""
        self._poller = poller

    def end_poll(self) -> Poller | None:
        """Take away the poller that waits, if one does."""
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.timer.cancel()
        return poller

    def _serve_poller(self) -> None:
        poller = self.end_poll()
        if poller is not None and not poller.is_gone():
            poller.take(self.first(poller.limit))
