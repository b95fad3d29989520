"""Many processes' lines in one stream: with the process' name in front, or untouched when they are JSON."""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO, TextIO

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""ANSI foregrounds, one a name, in turn."""

OWN_NAME = "up"


class Output:
    """Where the supervisor and its children write.

    A reader that went away (`longwave up | head`, a terminal) must not stop the work: its lines are lost.

    journal: is told the supervisor's own lines too, each as an event with its facts.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        names: list[str],
        as_json: bool = False,
        own_name: str = OWN_NAME,
        journal: Callable[..., None] | None = None,
    ) -> None:
        self.own_name = own_name
        self.stream = stream
        self.as_json = as_json
        self._journal = journal
        self.width = max(len(name) for name in [own_name, *names])
        self.coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, int] = {}
        self._lock = threading.Lock()
        self._followers: list[threading.Thread] = []

    def say(self, event: str, **facts: object) -> None:
        """A line of the supervisor's own."""
        if self._journal:
            self._journal(event, **facts)
        if self.as_json:
            self._write(_as_json(self.own_name, event, facts))
        else:
            self.line(self.own_name, " ".join([event, *(f"{name}={value}" for name, value in facts.items())]))

    def line(self, name: str, text: str) -> None:
        """One line of `name`'s."""
        if not self.as_json:
            self._write(f"{self._prefix(name)} {text}")
        elif text.startswith("{"):
            self._write(text)
        elif text.strip():  # said before its logging was set up, or by a program that has none
            self._write(_as_json(name, text.strip(), {}))

    def follow(self, name: str, pipe: IO[bytes]) -> None:
        """Write what comes out of `pipe`, line by line, until it is closed."""
        follower = threading.Thread(target=self._follow, args=(name, pipe), name=f"log-{name}", daemon=True)
        self._followers = [each for each in self._followers if each.is_alive()] + [follower]
        follower.start()

    def close(self, *, wait: float = 0.5) -> None:
        """Let the last lines of dead children come out."""
        deadline = time.monotonic() + wait
        for follower in self._followers:
            follower.join(max(0.0, deadline - time.monotonic()))

    def _follow(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self.line(name, line.decode("utf-8", "replace").rstrip("\r\n"))

    def _prefix(self, name: str) -> str:
        label = f"{name:<{self.width}} |"
        if not self.coloured:
            return label
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{colour}m{label}\x1b[0m"

    def _write(self, line: str) -> None:
        with self._lock:
            try:
                self.stream.write(line + "\n")
                self.stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads any more


def _as_json(name: str, event: str, facts: Mapping[str, object]) -> str:
    """A line as the children's own logs write theirs."""
    stamp = datetime.now(UTC).isoformat()
    return json.dumps(
        {"event": event, "logger": f"longwave.{name}", "timestamp": stamp, **facts}, default=str
    )
