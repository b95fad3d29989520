"""The server in a process of its own, and a client for its /fake/ endpoints."""

import os
import subprocess
import sys
from array import array
from dataclasses import fields, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import orjson

from longwave.testing.fake_telegram.options import Options
from longwave.testing.fake_telegram.population import Population, read_population

START_SECONDS = 20
_SOURCES = Path(__file__).parents[3]


class Control:
    """Asks a running fake server what happened, and tells it what shall happen. Every call blocks."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    @property
    def base_url(self) -> str:
        """Where the server listens; give this to a client as its API server."""
        return self._base_url

    def stats(self, *, bot: int | None = None, since: float | None = None) -> dict[str, Any]:
        """The verdict: accepted, twice, peak_second, mean_rate, caused_429, refused, …"""
        return self._dict("GET", "stats", bot=bot, since=since)

    def log(
        self, *, offset: int = 0, limit: int = 1000, chat_id: int | None = None, method: str | None = None
    ) -> list[dict[str, Any]]:
        """Accepted requests in order of arrival, edits and deletions (weight 0) included."""
        return self._list("log", offset=offset, limit=limit, chat_id=chat_id, method=method)

    def arrivals(self, *, bot: int | None = None, since: float | None = None) -> "array[float]":
        """Unix arrival time of every accepted request that made a message."""
        return array("d", self._ask("GET", "arrivals", bot=bot, since=since))

    def chats(self, *, bot: int | None = None, since: float | None = None) -> dict[int, int]:
        """How many sends each chat received; an album is one."""
        flat = array("q", self._ask("GET", "chats", bot=bot, since=since, format="binary"))
        half = len(flat) // 2
        return dict(zip(flat[:half], flat[half:], strict=True))

    def twice(self, *, bot: int | None = None, since: float | None = None) -> list[int]:
        """Chats that received more than one send."""
        return self._list("twice", bot=bot, since=since)

    def throttled(self, *, offset: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """429s: at, bot, chat_id, cause (global, chat, group, flood, fault), retry_after."""
        return self._list("throttled", offset=offset, limit=limit)

    def fault(self, kind: str, **options: Any) -> dict[str, Any]:
        """Put a fault in force; see `faults.Fault` for the kinds and options."""
        return self._dict("POST", "faults", {"kind": kind, **options})

    def clear_faults(self) -> None:
        """No faults any more, and no flood that a bot brought on itself."""
        self._ask("DELETE", "faults")

    def users(self, *, chats: dict[int | str, Any] | None = None, **shares: float) -> None:
        """Set shares of private chats (`blocked=0.02`) and single chats (`{42: "blocked", 5: "ok"}`).

        A group's state may also be `{"upgraded_to": ID}`.
        """
        data: dict[str, Any] = dict(shares)
        if chats:
            data["chats"] = {str(chat): state for chat, state in chats.items()}
        self._ask("POST", "users", data)

    def population(self) -> Population:
        """Who the chats are, to work out what each should have received: `.of(chat_id)`."""
        return read_population(self._dict("GET", "users"), Population())

    def limits(self, **changes: float | None) -> dict[str, Any]:
        """Change limits (rate, chat_burst, … None: off; stars), and answer them all."""
        return self._dict("POST", "limits", changes)

    def push_update(self, update: dict[str, Any], *, bot: int | None = None) -> int | None:
        """Send a bot an update, completed with what each has. None: the bot does not ask for its kind."""
        data = {"update": update} if bot is None else {"update": update, "bot": bot}
        update_id: int | None = self._dict("POST", "updates", data)["update_id"]
        return update_id

    def age(self, seconds: float) -> None:
        """Make every message older when it is asked whether it can still be deleted."""
        self._ask("POST", "age", {"seconds": seconds})

    def reset(self) -> None:
        """Make everything as it was when the server started."""
        self._ask("POST", "reset")

    def _dict(
        self, verb: str, path: str, data: dict[str, Any] | None = None, /, **query: Any
    ) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self._ask(verb, path, data, **query))
        return found

    def _list(self, path: str, **query: Any) -> list[Any]:
        found: list[Any] = orjson.loads(self._ask("GET", path, **query))
        return found

    def _ask(self, verb: str, path: str, data: dict[str, Any] | None = None, /, **query: Any) -> bytes:
        parts = urlsplit(self.base_url)
        given = urlencode({name: value for name, value in query.items() if value is not None})
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            body = None if data is None else orjson.dumps(data)
            connection.request(verb, f"/fake/{path}?{given}", body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(orjson.loads(answer)["error"])
        return answer


class FakeTelegram(Control):
    """A fake Bot API server in a process of its own; a context manager.

    Takes the fields of `Options`, on a free port unless one is given. The process ends with this one, however
    this one ends.
    """

    def __init__(self, port: int = 0, **options: Any) -> None:
        super().__init__("")
        self.options = replace(Options(), port=port, **options)
        self._process: subprocess.Popen[str] | None = None

    @property
    def base_url(self) -> str:
        """Where the server listens, once it has been started."""
        if not self._base_url:
            raise RuntimeError(
                "the fake server has not been started: call start(), or use it in a with statement"
            )
        return self._base_url

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the server and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __package__, *arguments(self.options), "--follow-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        assert self._process.stdout is not None
        self._base_url = self._process.stdout.readline().strip()
        if not self._base_url:
            code = self._process.wait(START_SECONDS)
            self.stop()
            raise RuntimeError(
                f"the fake server did not start (exit code {code}): is port {self.options.port} free?"
            )
        return self

    def stop(self) -> None:
        """End the server; harmless when it does not run."""
        process, self._process, self._base_url = self._process, None, ""
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()


def arguments(options: Options) -> list[str]:
    """`options` as arguments for `python -m longwave.testing.fake_telegram`, defaults left out."""
    found: list[str] = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value == field.default:
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if field.name == "tokens":
            found += [part for token in value for part in ("--token", token)]
        elif value is True:
            found.append(flag)
        else:
            found += [flag, "none" if value is None else str(value)]
    return found


def _environment() -> dict[str, str]:
    """This process's environment, with the package where this process found it."""
    path = os.pathsep.join(filter(None, [str(_SOURCES), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}
