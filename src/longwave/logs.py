"""One log format for our own lines and every library's: for people, or JSON. Bot tokens never get through.

Every line has `event`, stable words that can be searched for; what varies is in the other keys.
"""

import logging
import logging.handlers
import os
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog

from longwave.core.errors import InvalidInput, Problem

TOKEN = re.compile(r"(?<!\d)(\d{3,}):[\w-]{30,}")
"""A bot token: the bot's number, which may be shown, and the secret, which may not. Not looked for at each digit of a
number: that would take minutes for one of a hundred thousand, which an error's text may hold.
"""

URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")

Event = MutableMapping[str, Any]


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def scrub(text: str) -> str:
    """`text` with the secret half of every bot token, and every URL's password, masked."""
    return URL_PASSWORD.sub(r"\1:…@", TOKEN.sub(r"\1:…", text))


def quieter(level: str) -> str:
    """The level for a command that people run by hand: no news, unless they asked to see everything."""
    return level if level in ("DEBUG", "ERROR") else "WARNING"


def configure(level: str, style: Literal["console", "json"], stream: TextIO | None = None) -> None:
    """Send structlog's and stdlib's records to `stream` (stderr) in one format. A second call replaces it."""
    stream = sys.stderr if stream is None else stream
    _give_records_to_handlers()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(style, colors=stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Their DEBUG drowns ours, and aiohttp and asyncio know nothing that we do not.
    for chatty in ("asyncio", "aiohttp", "amqp", "kombu", "django.db.backends", "celery.bootsteps"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _give_records_to_handlers() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # loggers made at import time must follow a later configure()
    )


def keep(folder: Path | None, component: str, style: str, **who: str) -> None:
    """Write what is logged to `<component>.log` in this folder too; nothing without a folder.

    Each line says which process it is from: its pid, and `who`. Raises InvalidInput when it cannot be written.
    """
    if folder is not None:
        logging.getLogger().addHandler(file_handler(folder, component, style, **who))


def file_handler(folder: Path | str, component: str, style: str, **who: str) -> logging.Handler:
    """The handler that `keep` adds, for servers that set up their own logging. Raises InvalidInput."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handler = _File(Path(folder) / f"{component}.log")
    except OSError as error:
        remedy = f"cannot be written to ({error.strerror}); name a folder that this user may write to"
        raise InvalidInput(Problem("LONGWAVE_LOG_DIR", str(folder), remedy)) from error
    handler.setFormatter(_formatter(style, _From(who)))
    return handler


def adopt() -> None:
    """Follow the logging that a server has set up: in our format where it uses that, else as `hand_on` does."""
    formats = (handler.formatter for handler in logging.getLogger().handlers)
    if any(isinstance(one, structlog.stdlib.ProcessorFormatter) for one in formats):
        _give_records_to_handlers()
    else:
        hand_on()


def hand_on() -> None:
    """Give structlog's records to the standard library's loggers, each as one masked line.

    For a process whose logging is somebody else's, a bot's: its handlers and levels decide what is shown where.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_renderers("console", colors=False),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def say_at_once(name: str, text: str) -> None:
    """A line of logger `name` in the log's format, written round every buffer and lock.

    For signal handlers, which may interrupt the very handler that a log record would go through.
    """
    root = logging.getLogger()
    if not root.isEnabledFor(logging.INFO):
        return
    record = logging.LogRecord(name, logging.INFO, "", 0, text, (), None)
    for handler in root.handlers:
        line = _line(handler, record)
        if isinstance(handler, _File):
            handler.write_at_once(line)
        else:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line)


def formatter(style: str, *, colors: bool = False) -> logging.Formatter:
    """The format itself, for servers that set up their own logging (granian names it in a dictConfig)."""
    return _formatter(style, colors=colors)


def _formatter(style: str, *more: Any, colors: bool = False) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *more,
            *_renderers(style, colors=colors),
        ],
    )


class _From:
    """Adds which process a line is from: several write into one file."""

    def __init__(self, who: MutableMapping[str, str]) -> None:
        self._who = who

    def __call__(self, logger: Any, name: str, event: Event) -> Event:
        for key, value in self._who.items():
            event.setdefault(key, value)
        event["pid"] = os.getpid()
        return event


class _File(logging.handlers.WatchedFileHandler):
    """A file that several processes append to, and that may be moved away under them, as logrotate does.

    Without a buffer: each line is one write, so that another process' does not get into it.
    """

    stream: Any  # of bytes, where the base class has text

    def __init__(self, path: Path) -> None:
        self._is_failing = False
        super().__init__(path)

    def _open(self) -> Any:
        return Path(self.baseFilename).open("ab", buffering=0)

    def emit(self, record: logging.LogRecord) -> None:
        """Write it. One that cannot be written is on stderr, where all lines are."""
        try:
            self.reopenIfNeeded()
            if self.stream is None:  # it could not be opened again the last time
                self.stream = self._open()
                self._statstream()
            self.stream.write(_line(self, record))
            self._is_failing = False
        except Exception:
            self.handleError(record)

    def write_at_once(self, line: bytes) -> None:
        try:
            with self._open() as file:
                file.write(line)
        except OSError:
            pass  # it is on stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name for it
        """Say it once on stderr, in words. The work goes on."""
        if self._is_failing or not sys.__stderr__:
            return
        self._is_failing = True
        error = sys.exc_info()[1]
        why = getattr(error, "strerror", None) or error
        sys.__stderr__.write(f"{self.baseFilename} cannot be written ({why}): lines are here only.\n")


def _line(handler: logging.Handler, record: logging.LogRecord) -> bytes:
    return f"{handler.format(record)}\n".encode("utf-8", "replace")


def _renderers(style: str, *, colors: bool) -> list[Any]:
    # Tracebacks without local variables: those may hold what must never be logged.
    if style == "json":
        frames = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        return [frames, _Scrubbed(structlog.processors.JSONRenderer())]
    plain = structlog.dev.plain_traceback
    return [
        _one_line,
        _Scrubbed(structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)),
    ]


def _one_line(logger: Any, name: str, event: Event) -> Event:
    """What libraries say over several lines comes on one: each line of a log stands for itself."""
    if "\n" in (said := str(event.get("event", ""))):
        event["event"] = " ".join(said.split())
    return event


class _Scrubbed:
    """A renderer whose finished line is masked: no field, exception or library can go round it."""

    def __init__(self, render: Any) -> None:
        self.render = render

    def __call__(self, logger: Any, name: str, event: Event) -> str:
        return scrub(self.render(logger, name, event))
